//! The experiment database of Galileo: model, recorder, export.
