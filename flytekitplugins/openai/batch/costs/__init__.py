"""What requests cost, and may cost. Pure.

In: tokens by model, counted before a run or reported after it. Out: US dollars at OpenAI's rate for batches.

- `prices` has the price of a token, from `genai-prices` if that is installed.
- `estimate` is the cost of an input before it is submitted, in words, too.
- `budget` refuses an input that may cost too much.
"""
