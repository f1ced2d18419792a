"""The machines of a run on several of them."""
