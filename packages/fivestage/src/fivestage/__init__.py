"""The library under a Fivestage project: everything that is not the owner's to edit."""
