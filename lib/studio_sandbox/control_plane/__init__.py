"""The AWS half of the Studio in a box: moto with an overlay, one process, one account.

`python -m studio_sandbox.control_plane` reads its configuration as one JSON line on stdin, seeds
the whole Studio, writes the credentials file and serves HTTP on a port of its own. `names` is the
map of what is seeded; `moto_adapter` is the only place that knows moto from the inside; `seed`
has one module for each noun. `scheduler` moves tasks (`ecs_task`) and services (`ecs_service`) on,
as fast as `pace` says, as `behaviours` has them fail, and as `vitals` has found them. The rest is
what stands between a request and moto.
"""
