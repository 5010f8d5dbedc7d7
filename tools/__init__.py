"""Tools of the template itself: never in a project made from it."""
