"""Tells an operator or a user in one line each what is right, and what to do about the rest.

In: the environment, the keys that it holds, OpenAI's answers to a dozen small calls, and files of Helm values. Out: a
`Diagnosis`. Nothing stays at OpenAI, except a real batch on its list if one is asked for.

    command       the arguments, and which checks are made
    account       the checks of each key in turn, and what is skipped
    findings      what a check found, as a line and as JSON (pure)
    environment   what is installed
    keys          which keys there are, and where each was found
    stored_names  what is stored for Flyte projects, and names that nobody reads
    key_names     whose a name is, and what it should be (pure)
    caller        one call with one key
    reply         what a reply says about the key (pure)
    connection    the base URL and the clock
    permissions   what a key may do
    shared_files  whether two keys see the same files
    submission    a real batch of one request
    interrupt     keeps Ctrl-C from being lost
    helm_values   files of Helm values, and what Flyte reads of them (pure)
    helm_rules    what they must say, setting by setting (pure)
    yaml_maps     merges maps as Helm and Flyte do (pure)
"""

from .command import DOCTOR

__all__ = ["DOCTOR"]
