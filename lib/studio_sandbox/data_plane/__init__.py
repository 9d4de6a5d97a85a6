"""What the Studio does while it runs: answers requests, counts, works, scales.

It lives in the control plane's process, beside the state that it acts on, and has two halves.
What is asked for from outside is answered at any time, on a still sandbox too:

    endpoints       one HTTP server on loopback, which plays the load balancer and the world outside
    load_balancer   the live rules and targets of the ALB, as moto has them
    services        what a task answers, with what it was given when it started; gateway is one
    providers       the AI providers that the gateway calls
    slack github    and whom else it talks to; rollout is what the workflow does
    stores          PostgreSQL and Redis, as the tasks reach them

What happens by itself begins when the guard has filled the servers, and never on a still sandbox:

    plane           the threads, and how they pause for a reset
    pulse           how long the database takes for what a page reads
    checks          whether tasks answer: the scheduler replaces those that do not
    traffic         what users do; usage is counted and written, counts become metrics
    scaling         the desired counts follow the CPU
    worker          jobs, from the broker's queues and the table
    payments        checkouts and webhooks; hyperpay is the provider outside
    orders          what a drill may order of all this
"""
