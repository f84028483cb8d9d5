//! Query strings (`application/x-www-form-urlencoded`).

/// Why a query cannot be taken.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    /// A percent sign without two hexadecimal digits, or bytes that are no UTF-8.
    #[error("the query is not percent-encoded UTF-8")]
    Encoding,
    /// A parameter that does not exist.
    #[error("unknown parameter `{name}`; there are: {valid}")]
    Name {
        /// As it was given.
        name: String,
        /// The parameters there are.
        valid: String,
    },
    /// A parameter that is given twice.
    #[error("parameter `{name}` is given twice")]
    Twice {
        /// The parameter.
        name: String,
    },
    /// A value that the parameter does not take.
    #[error("parameter `{name}` cannot be `{value}`; it takes: {valid}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// As it was given.
        value: String,
        /// The values it takes.
        valid: String,
    },
}

/// The names and values of `query` in order, decoded.
///
/// # Errors
/// The encoding is broken or a name comes twice.
pub(super) fn parse(query: &str) -> Result<Vec<(String, String)>, QueryError> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let (name, value) = (decode(name)?, decode(value)?);
        if pairs.iter().any(|(other, _)| *other == name) {
            return Err(QueryError::Twice { name });
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn decode(text: &str) -> Result<String, QueryError> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    let digit = char::from(bytes.next()?).to_digit(16)?;
                    u8::try_from(digit).ok()
                };
                match (digit(), digit()) {
                    (Some(high), Some(low)) => high << 4 | low,
                    _ => return Err(QueryError::Encoding),
                }
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| QueryError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_decoded() {
        let pairs = parse("a=1&&b=x%20y+z%C3%A9&c").unwrap();
        let expected = [("a", "1"), ("b", "x y zé"), ("c", "")];
        assert_eq!(
            pairs,
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn broken_queries_are_refused() {
        for query in ["a=%", "a=%4", "a=%zz", "%ff=1", "a=%+1"] {
            assert_eq!(parse(query), Err(QueryError::Encoding), "{query}");
        }
        assert_eq!(
            parse("a=1&%61=2"),
            Err(QueryError::Twice { name: "a".into() })
        );
    }
}
