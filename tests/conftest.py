"""Fixtures that several test files share."""

import os
import shutil

import pytest

from sllm_core import faults
from tests import training_helpers

os.environ.setdefault("OMP_NUM_THREADS", "1")  # children too: losses are compared bit by bit
os.environ.setdefault("SLLM_KEEP_AWAKE", "0")  # a test asks nothing of the desktop


@pytest.fixture
def arm(monkeypatch):
    """Order faults in this process, as SLLM_FAULT does at the start of one."""

    def order(text: str) -> None:
        monkeypatch.setattr(faults, "_armed", faults.parse(text))
        monkeypatch.setattr(faults, "_passed", {})

    return order


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A prepared project of thirty small files; shared, so never write into it."""
    return training_helpers.prepare_project(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def project(prepared, tmp_path):
    """A copy of the prepared project for this test alone."""
    shutil.copytree(prepared.root, tmp_path / "p")
    return type(prepared)(tmp_path / "p")


@pytest.fixture
def world(tmp_path):
    """A tiny run in this process; see `training_helpers.World`."""
    return training_helpers.World(tmp_path / "world")
