"""The assistant of this project: its contract, its questions, its commands."""
