"""From slices to one regular volume: image planes, slice spacing, stacks, the affine in LPS."""
