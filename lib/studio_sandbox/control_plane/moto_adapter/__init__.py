"""The only place that knows moto (5.2.5, pinned) from the inside.

One module a service: each corrects what moto gets wrong there (`patch`) and puts seeded state
into moto's own objects, with ages that no API call could give them. Contract tests hold the
corrections: each says what plain moto would have answered.

`core` starts and empties moto; it must be called before any other module here is imported,
because moto reads its settings at import.
"""
