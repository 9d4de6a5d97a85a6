def patch() -> None:
    pass
