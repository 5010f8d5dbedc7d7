"""The design book: pages whose numbers come from runs, and the site made of all pages."""
