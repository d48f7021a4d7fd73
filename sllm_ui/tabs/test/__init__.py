"""Test: write with a checkpoint of the project."""
