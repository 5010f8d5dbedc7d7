"""Small measurements for the design book, each in a module with a function `measure`."""
