"""Whether what a store told its callers could have come from one list that only grows, asked one thing after the other.

A history is what clients did to one stream: when each operation began and ended, and what it was told. It is linearizable when
each operation can be given one moment between its beginning and its end, so that a single list, asked in the order of these
moments, gives the same answers. Clients run in processes of their own; they and the engines are stopped and killed meanwhile.

`model` says what a list answers (ES-1, ES-2, ES-4), `checker` looks for the order, `clients` do what is to be explained,
`record` keeps what they were told, `trouble` starts, stops and kills them in `places`; `broken` has stores to be refused.
"""
