"""The business problem: the only room that a project of your own must change."""
