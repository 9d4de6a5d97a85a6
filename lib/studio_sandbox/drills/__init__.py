"""Drills: break the Studio in one named way, let somebody mend it, judge the state that results."""
