//! One request: checked, routed, forwarded, answered.
