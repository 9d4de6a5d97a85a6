"""What spans several things: each procedure reads them all, plans once, and follows to the end."""
