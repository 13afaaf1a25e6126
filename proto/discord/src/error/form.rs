//! Form errors: what is wrong with which field. They are nested along the JSON path as Discord nests them.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Serialize, Serializer, ser::SerializeMap};

/// Most form errors that are kept of one request; further ones are dropped. Ten embeds can hold a few hundred
/// wrong fields, and no client shows more than a handful. The number is a choice.
pub const FORM_ERRORS_MAX: usize = 50;

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leaf {
    /// The field must be there.
    Required,
    /// Text or list outside of a range of lengths.
    BadLength {
        /// Least length.
        min: usize,
        /// Greatest length.
        max: usize,
    },
    /// Text too long.
    MaxLength {
        /// Greatest length.
        max: usize,
    },
    /// Not one of a few values.
    Choices(&'static str),
    /// Number below the least.
    Min(i64),
    /// Number above the greatest.
    Max(i64),
    /// Not an integer.
    NotAnInteger,
    /// Not an id.
    NotASnowflake,
    /// Not text.
    NotAString,
    /// Not true or false.
    NotABoolean,
    /// Not a JSON object.
    NotAnObject,
    /// Not a JSON array.
    NotAList,
    /// Neither http nor https.
    BadUrl,
    /// Not a time in RFC 3339.
    BadTimestamp,
    /// The embeds together are too long.
    EmbedsTooLong {
        /// Greatest sum of their texts.
        max: usize,
    },
    /// The embeds together take too many bytes in the row's form, though each of their texts and links is
    /// short enough.
    EmbedsTooLarge {
        /// Most bytes of their JSON.
        max: usize,
    },
    /// An embed without anything to show.
    EmptyEmbed,
    /// A value that the list has already.
    Repeated,
    /// Text with U+0000, or a name without a visible character.
    BadText,
    /// Two fields that exclude each other.
    Exclusive(&'static str),
    /// The replied-to message does not exist.
    UnknownReferencedMessage,
    /// The field's feature does not exist here.
    Unsupported,
    /// The body's content type is not one that the route takes, or the body does not match it.
    BadContentType,
}

impl Leaf {
    /// The leaf's code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Required => "BASE_TYPE_REQUIRED",
            Self::BadLength { .. } => "BASE_TYPE_BAD_LENGTH",
            Self::MaxLength { .. } => "BASE_TYPE_MAX_LENGTH",
            Self::Choices(_) => "BASE_TYPE_CHOICES",
            Self::Min(_) => "NUMBER_TYPE_MIN",
            Self::Max(_) => "NUMBER_TYPE_MAX",
            Self::NotAnInteger => "BASE_TYPE_BAD_INT",
            Self::NotASnowflake => "NUMBER_TYPE_COERCE",
            Self::NotAString => "STRING_TYPE_CONVERT",
            Self::NotABoolean => "BOOLEAN_TYPE_CONVERT",
            Self::NotAnObject => "MODEL_TYPE_CONVERT",
            Self::NotAList => "LIST_TYPE_CONVERT",
            Self::BadUrl => "URL_TYPE_INVALID_URL",
            Self::BadTimestamp => "DATE_TIME_TYPE_PARSE",
            Self::EmbedsTooLong { .. } | Self::EmbedsTooLarge { .. } => "MAX_EMBED_SIZE_EXCEEDED",
            Self::EmptyEmbed => "EMBED_EMPTY",
            Self::Repeated => "SET_TYPE_ALREADY_CONTAINS_VALUE",
            Self::BadText => "STRING_TYPE_REGEX",
            Self::Exclusive(_) => "FIELDS_MUTUALLY_EXCLUSIVE",
            Self::UnknownReferencedMessage => "MESSAGE_REFERENCE_UNKNOWN_MESSAGE",
            Self::Unsupported => "FEATURE_UNSUPPORTED",
            Self::BadContentType => "CONTENT_TYPE_INVALID",
        }
    }

    /// The leaf's message.
    #[must_use]
    pub fn message(&self) -> Cow<'static, str> {
        match self {
            Self::Required => "This field is required".into(),
            Self::BadLength { min, max } => format!("Must be between {min} and {max} in length.").into(),
            Self::MaxLength { max } => format!("Must be {max} or fewer in length.").into(),
            Self::Choices(choices) => format!("Value must be one of {choices}.").into(),
            Self::Min(min) => format!("Value should be greater than or equal to {min}.").into(),
            Self::Max(max) => format!("Value should be less than or equal to {max}.").into(),
            Self::NotAnInteger => "Value is not an integer.".into(),
            Self::NotASnowflake => "Value is not a snowflake.".into(),
            Self::NotAString => "Value is not a string.".into(),
            Self::NotABoolean => "Value is neither true nor false.".into(),
            Self::NotAnObject => "Only objects may be used here.".into(),
            Self::NotAList => "Only lists may be used here.".into(),
            Self::BadUrl => "Not a well formed URL.".into(),
            Self::BadTimestamp => "Not a time in RFC 3339.".into(),
            Self::EmbedsTooLong { max } => format!("Embeds exceed the maximum size of {max}.").into(),
            Self::EmptyEmbed => "The embed has nothing to show.".into(),
            Self::Repeated => "The set already contains this value.".into(),
            Self::EmbedsTooLarge { max } => {
                format!("Embeds take more than {max} bytes as JSON: shorten their texts or links.").into()
            }
            Self::BadText => "String value did not match validation regex.".into(),
            Self::Exclusive(fields) => format!("Only one of {fields} may be set.").into(),
            Self::UnknownReferencedMessage => "Unknown message".into(),
            Self::Unsupported => "This server does not support this field.".into(),
            Self::BadContentType => {
                "Expected the body to be application/json, application/x-www-form-urlencoded or \
                 multipart/form-data, as \"Content-Type\" says."
                    .into()
            }
        }
    }
}

/// A place in a body, as a chain from the innermost name outwards. Building one costs nothing until an error
/// needs it.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    outer: Option<&'a Path<'a>>,
    name: Name<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Name<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

impl Path<'_> {
    /// The body itself.
    pub(crate) const ROOT: Path<'static> = Path { outer: None, name: Name::Root };

    /// The field of this name within this place.
    #[must_use]
    pub fn key<'b>(&'b self, key: &'b str) -> Path<'b> {
        Path { outer: Some(self), name: Name::Key(key) }
    }

    /// The element with this index within this place.
    #[must_use]
    pub fn index(&self, index: usize) -> Path<'_> {
        Path { outer: Some(self), name: Name::Index(index) }
    }

    fn names(&self) -> Vec<String> {
        let mut names = self.outer.map_or_else(Vec::new, Path::names);
        match self.name {
            Name::Root => {}
            Name::Key(key) => names.push(key.to_owned()),
            Name::Index(index) => names.push(index.to_string()),
        }
        names
    }
}

/// All errors of a request's fields; at most [`FORM_ERRORS_MAX`]. It serialises as the body's `errors`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FormErrors {
    errors: Vec<(Vec<String>, Leaf)>,
}

impl FormErrors {
    /// No error yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One error.
    #[must_use]
    pub fn one(path: Path<'_>, leaf: Leaf) -> Self {
        let mut errors = Self::new();
        errors.add(path, leaf);
        errors
    }

    /// One error of a top-level field or query parameter.
    #[must_use]
    pub fn field(key: &str, leaf: Leaf) -> Self {
        Self::one(Path::ROOT.key(key), leaf)
    }

    /// Notes an error.
    pub fn add(&mut self, path: Path<'_>, leaf: Leaf) {
        if self.errors.len() < FORM_ERRORS_MAX {
            self.errors.push((path.names(), leaf));
        }
    }

    /// Number of errors noted so far; at most [`FORM_ERRORS_MAX`].
    #[must_use]
    pub fn len(&self) -> usize {
        self.errors.len()
    }

    /// True if there are no errors.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// The value, if there are no errors.
    ///
    /// # Errors
    /// These errors, if there are any.
    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The errors in the order they were found: the path's names, outermost first, and the leaf.
    pub fn iter(&self) -> impl Iterator<Item = (&[String], &Leaf)> {
        self.errors.iter().map(|(path, leaf)| (path.as_slice(), leaf))
    }
}

impl fmt::Display for FormErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (path, leaf)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", path.join("."), leaf.code())?;
        }
        Ok(())
    }
}

impl std::error::Error for FormErrors {}

impl Serialize for FormErrors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut root = Node::default();
        for (path, leaf) in &self.errors {
            path.iter().fold(&mut root, |node, name| node.inner.entry(name).or_default()).leaves.push(leaf);
        }
        root.serialize(serializer)
    }
}

#[derive(Default)]
struct Node<'a> {
    leaves: Vec<&'a Leaf>,
    inner: BTreeMap<&'a str, Node<'a>>,
}

#[derive(Serialize)]
struct LeafObject<'a> {
    code: &'static str,
    message: Cow<'a, str>,
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.leaves.is_empty() {
            let leaves: Vec<_> = self
                .leaves
                .iter()
                .map(|leaf| LeafObject { code: leaf.code(), message: leaf.message() })
                .collect();
            map.serialize_entry("_errors", &leaves)?;
        }
        for (name, node) in &self.inner {
            map.serialize_entry(name, node)?;
        }
        map.end()
    }
}
