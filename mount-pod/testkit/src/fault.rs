//! What a test may do to a server.
//!
//! A **hung** server keeps its connections and answers nobody. A **stopped** one is
//! killed: its connections break, nobody listens on its port, and its files stay.

/// A server that can be taken away and given back.
pub trait Faulty: Send {
    /// Stops its processes in their tracks (SIGSTOP).
    fn hang(&self);

    /// Lets them go on.
    fn resume(&self);

    /// Kills it (SIGKILL) and waits for its end.
    fn stop(&mut self);

    /// Starts it again on the same port and data, and waits until it answers.
    fn start_again(&mut self);

    /// Kills it and starts it again.
    fn restart(&mut self) {
        self.stop();
        self.start_again();
    }
}
