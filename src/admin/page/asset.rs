//! The files that the page loads.

use bytes::Bytes;

use super::super::respond::{self, Reply};

/// A file that the page loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Asset {
    Icon,
    Script,
    Style,
}

impl Asset {
    /// The one at `path`.
    pub(in super::super) fn find(path: &str) -> Option<Self> {
        match path {
            "/page/icon.svg" => Some(Self::Icon),
            "/page/page.js" => Some(Self::Script),
            "/page/style.css" => Some(Self::Style),
            _ => None,
        }
    }

    pub(in super::super) fn reply(self) -> Reply {
        let (media_type, text) = match self {
            Self::Icon => ("image/svg+xml", include_str!("icon.svg")),
            Self::Script => ("text/javascript; charset=utf-8", include_str!("page.js")),
            Self::Style => ("text/css; charset=utf-8", include_str!("style.css")),
        };
        respond::of_page(media_type, Bytes::from_static(text.as_bytes()))
    }
}
