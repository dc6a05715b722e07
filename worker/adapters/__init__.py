"""Ready-made bots for other packages. Each module is imported only when it is used, and needs its package."""
