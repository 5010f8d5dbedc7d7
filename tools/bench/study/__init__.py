"""Small measurements that the design book cites, each a module with `measure`."""
