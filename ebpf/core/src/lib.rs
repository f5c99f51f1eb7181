//! The pure state machines of Galileo's probes: HTTP framing and run queue.
