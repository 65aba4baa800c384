"""What the commands do, one module per operation: parse what is asked for, decide in the core, act on the cluster.

An operation prints nothing and knows no flags, so that other front ends than `cli` can call it.
"""
