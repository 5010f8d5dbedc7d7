"""What belongs to the template alone: copier leaves this folder out of the projects it makes."""
