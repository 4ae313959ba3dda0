"""One page of the window each."""
