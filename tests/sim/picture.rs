//! Who is who in a picture.

use fairlead::model::role::Role;
use fairlead::upstream::snapshot::{EndpointView, PickTable, Snapshot};

/// Who is shown as primary: one, or one of each shard.
pub(crate) fn leaders(picture: &Snapshot, is_sharded: bool) -> Vec<&EndpointView> {
    if is_sharded {
        let views = picture.endpoints.iter();
        return views.filter(|view| view.role == Role::Primary).collect();
    }
    primary_view(picture).into_iter().collect()
}

pub(crate) fn eligible<'a>(
    picture: &'a Snapshot,
    table: &'a PickTable,
) -> impl Iterator<Item = &'a EndpointView> {
    table
        .positions
        .iter()
        .filter_map(|position| picture.endpoint(*position))
}

pub(crate) fn primary_view(picture: &Snapshot) -> Option<&EndpointView> {
    picture.endpoints.get(picture.roles.as_ref()?.primary?)
}
