//! SPDX licence expressions, as far as package manifests use them: `OR`, `AND`, `WITH`, parentheses, and the
//! old `/`.

/// True if the licences that `allowed` accepts satisfy `expression`. An expression that cannot be parsed is
/// not satisfied.
pub(crate) fn satisfied(expression: &str, allowed: impl Fn(&str) -> bool) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut reader = Reader { tokens: spaced.split_whitespace().collect(), at: 0, allowed: &allowed };
    reader.any_of() == Some(true) && reader.at == reader.tokens.len()
}

/// A recursive descent parser over the tokens. Each method returns `None` for text that is not an expression.
struct Reader<'a> {
    tokens: Vec<&'a str>,
    at: usize,
    allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Reader<'a> {
    fn any_of(&mut self) -> Option<bool> {
        let mut result = self.all_of()?;
        while self.take("OR") {
            // No short circuit, because the tokens must be consumed.
            result |= self.all_of()?;
        }
        Some(result)
    }

    fn all_of(&mut self) -> Option<bool> {
        let mut result = self.one()?;
        while self.take("AND") {
            result &= self.one()?;
        }
        Some(result)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let result = self.any_of()?;
            return self.take(")").then_some(result);
        }
        let licence = self.word()?;
        if self.take("WITH") {
            let exception = self.word()?;
            return Some((self.allowed)(&format!("{licence} WITH {exception}")));
        }
        Some((self.allowed)(licence))
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.tokens.get(self.at) == Some(&token);
        self.at += usize::from(found);
        found
    }

    /// The next token, if it is a name.
    fn word(&mut self) -> Option<&'a str> {
        let word = self.tokens.get(self.at).filter(|word| !["(", ")", "OR", "AND", "WITH"].contains(word))?;
        self.at += 1;
        Some(word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_mit_and_isc(expression: &str) -> bool {
        satisfied(expression, |licence| ["MIT", "ISC"].contains(&licence))
    }

    #[test]
    fn one_alternative_is_enough_and_all_parts_are_needed() {
        for good in
            ["MIT", "GPL-3.0 OR MIT", "MIT AND ISC", "Apache-2.0/MIT", "(GPL-3.0 OR MIT) AND ISC", "((MIT))"]
        {
            assert!(with_mit_and_isc(good), "{good}");
        }
        for bad in ["GPL-3.0", "MIT AND GPL-3.0", "(MIT OR ISC) AND GPL-3.0", "Apache-2.0 OR GPL-3.0 AND MIT"]
        {
            assert!(!with_mit_and_isc(bad), "{bad}");
        }
    }

    #[test]
    fn an_exception_is_part_of_the_licence() {
        assert!(!with_mit_and_isc("MIT WITH LLVM-exception"));
        assert!(satisfied("Apache-2.0 WITH LLVM-exception", |licence| licence
            == "Apache-2.0 WITH LLVM-exception"));
    }

    #[test]
    fn what_cannot_be_read_is_not_satisfied() {
        for broken in ["", "MIT OR", "AND MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH", "()"] {
            assert!(!with_mit_and_isc(broken), "{broken:?}");
        }
    }
}
