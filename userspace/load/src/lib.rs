//! Open-loop HTTP load on an absolute schedule.
