"""Whole days of faults, restarts and lost state. A day that fails is played again by its number, which is its seed.

`FIRST_DAY=1000 DAYS=200 pytest tests/service/test_days.py` plays others than the usual.
"""

import os

import pytest

from tests.service.days import faults_of, make_day, make_odd_lists, play

FIRST_DAY = int(os.environ.get("FIRST_DAY", "0"))
DAYS = int(os.environ.get("DAYS", "24"))

pytestmark = pytest.mark.days


@pytest.mark.parametrize("seed", range(FIRST_DAY, FIRST_DAY + DAYS))
def test_day_ends_well(world, seed):
    """Each task ends as it should, nothing is bought twice, and no batch is left running unread."""
    day = make_day(seed)
    node = play(world, day)
    assert faults_of(world, node, day) == {}, day


@pytest.mark.parametrize("seed", range(FIRST_DAY, FIRST_DAY + DAYS // 4))
def test_day_of_several_batches_ends_well(world, seed):
    """The same when the task has several files, each with a batch of its own."""
    day = make_day(seed)
    node = play(world, day, shards=3)
    assert faults_of(world, node, day) == {}, day


@pytest.mark.parametrize("seed", range(FIRST_DAY, FIRST_DAY + DAYS // 4))
def test_day_of_odd_lists_ends_well(world, seed):
    """The same when a page of the list answers for all batches of its first minutes, and is behind or poor."""
    day = make_day(seed)
    node = play(world, day, shards=8, odd_lists=make_odd_lists(seed))
    assert faults_of(world, node, day) == {}, (day, make_odd_lists(seed))
