"""Planning: pair specs with the inventory, diff, judge the impact, guard, order. Pure; never writes."""
