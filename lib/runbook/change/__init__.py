"""The one door: everything that changes anything is planned, reviewed by digest, then applied."""
