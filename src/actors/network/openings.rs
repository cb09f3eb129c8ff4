//! Connections whose other side has not been let in yet: a few places. Where all are taken, somebody who is about to come
//! in gives way to the next, so that silent strangers lock no peer out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;

use tokio::task::AbortHandle;

/// How many connections may be in their opening at once.
const OPENING_MAX: usize = 32;

/// The connections in their opening, by the order in which they came.
#[derive(Clone, Default)]
pub(super) struct Openings(Rc<RefCell<BTreeMap<u64, Opening>>>);

struct Opening {
    from: IpAddr,
    task: AbortHandle,
}

/// A place among them, which is free again when this is dropped.
pub(super) struct Place {
    number: u64,
    all: Openings,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.0.borrow_mut().remove(&self.number);
    }
}

impl Openings {
    pub(super) fn place(&self, number: u64) -> Place {
        Place { number, all: self.clone() }
    }

    /// `task` serves the connection, and holds the place of that number. True where another gave way: the one that came
    /// first from the address that holds the most places.
    pub(super) fn enter(&self, number: u64, from: IpAddr, task: AbortHandle) -> bool {
        let mut all = self.0.borrow_mut();
        all.insert(number, Opening { from, task });
        if all.len() <= OPENING_MAX {
            return false;
        }
        let places = |from: IpAddr| all.values().filter(|opening| opening.from == from).count();
        // Of equals the last one is the maximum: the oldest, then.
        let crowd = all.iter().rev().max_by_key(|(_, opening)| places(opening.from)).map(|(number, _)| *number);
        let gone = crowd.and_then(|number| all.remove(&number));
        // Its place is given back when its task is dropped.
        drop(all);
        gone.inspect(|opening| opening.task.abort()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(openings: &Openings, number: u64, from: &str) -> Place {
        let place = openings.place(number);
        openings.enter(number, from.parse().unwrap(), tokio::spawn(std::future::pending::<()>()).abort_handle());
        place
    }

    fn numbers(openings: &Openings) -> Vec<u64> {
        openings.0.borrow().keys().copied().collect()
    }

    #[tokio::test]
    async fn the_oldest_of_the_address_that_holds_the_most_places_gives_way() {
        let openings = Openings::default();
        let mut places = vec![enter(&openings, 1, "10.0.0.1"), enter(&openings, 2, "10.0.0.2")];
        places.extend((3..=100).map(|number| enter(&openings, number, "10.0.0.9")));
        let held: Vec<u64> = [1, 2].into_iter().chain(71..=100).collect();
        assert_eq!(numbers(&openings), held, "a crowd crowds out itself alone");
        drop(places);
        assert!(numbers(&openings).is_empty());
    }

    #[tokio::test]
    async fn of_many_addresses_the_one_that_waits_longest_gives_way() {
        let openings = Openings::default();
        let places: Vec<_> = (1..=40).map(|number| enter(&openings, number, &format!("10.0.0.{number}"))).collect();
        assert_eq!(numbers(&openings), (9..=40).collect::<Vec<_>>());
        drop(places);
    }
}
