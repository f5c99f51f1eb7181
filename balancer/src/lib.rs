//! A weighted reverse proxy that records every hop.
