"""Configuration: dataclasses that say what an experiment can be told, and one strict loader."""
