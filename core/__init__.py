"""The ground floor: what every project made from this template shares."""
