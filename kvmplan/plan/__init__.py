"""Planning: pair specs with the inventory, diff, judge, guard, order. Pure; never writes."""
