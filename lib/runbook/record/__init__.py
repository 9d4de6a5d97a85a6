"""The book of everything that happened: runs, their journals and plans, and who holds what."""
