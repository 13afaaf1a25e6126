//! Numbers names in order of their first appearance.

use std::collections::HashMap;

/// Names and their numbers, from 0.
#[derive(Debug)]
pub(crate) struct Names {
    numbers: HashMap<String, usize>,
    names: Vec<String>,
    max: usize,
}

/// There are more names than were allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

impl Names {
    /// An empty list of at most `max` names.
    pub(crate) fn new(max: usize) -> Self {
        Self { numbers: HashMap::new(), names: Vec::new(), max }
    }

    /// Returns the number of a name, which gets the next number if it is new.
    pub(crate) fn number(&mut self, name: &str) -> Result<usize, TooMany> {
        if let Some(number) = self.numbers.get(name) {
            return Ok(*number);
        }
        let number = self.names.len();
        if number == self.max {
            return Err(TooMany);
        }
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        Ok(number)
    }

    /// Returns the number of a name; `None` if it has none.
    pub(crate) fn find(&self, name: &str) -> Option<usize> {
        self.numbers.get(name).copied()
    }

    /// All names, by number.
    pub(crate) fn all(&self) -> &[String] {
        &self.names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_first_appearance_and_are_bounded() {
        let mut names = Names::new(2);
        assert_eq!((names.number("b"), names.number("a"), names.number("b")), (Ok(0), Ok(1), Ok(0)));
        assert_eq!(names.number("c"), Err(TooMany));
        assert_eq!(
            (names.all(), names.find("a"), names.find("c")),
            (&["b".to_owned(), "a".to_owned()][..], Some(1), None)
        );
    }
}
