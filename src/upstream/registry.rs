//! All upstreams by name, as the API and the route tables find them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::model::name::Name;
use crate::upstream::cell::UpstreamCell;

/// An immutable list of cells; a reload publishes a new one.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    cells: BTreeMap<Name, Arc<UpstreamCell>>,
}

impl Registry {
    /// A registry of these cells.
    pub fn new(cells: impl IntoIterator<Item = Arc<UpstreamCell>>) -> Registry {
        Registry {
            cells: cells
                .into_iter()
                .map(|cell| (cell.name.clone(), cell))
                .collect(),
        }
    }

    /// The cell of an upstream.
    pub fn find(&self, name: &str) -> Option<&Arc<UpstreamCell>> {
        self.cells.get(name)
    }

    /// All cells, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<UpstreamCell>> {
        self.cells.values()
    }
}
