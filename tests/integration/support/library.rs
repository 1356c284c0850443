//! A provider for a library kept in memory: the example of how a resource is written, and what the lifecycle laws are
//! tried on.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use terraform_provider_mesh::diag::{Diagnostic, Diagnostics};
use terraform_provider_mesh::engine::{Change, Configure, Ctx, Failed, Import, Plan, Provider, Resource};
use terraform_provider_mesh::model;
use terraform_provider_mesh::value::{Map, Value};

/// The client: the library's shelves by id.
#[derive(Default)]
pub struct Library {
    shelves: Mutex<BTreeMap<String, ShelfModel>>,
}

impl Library {
    pub fn shelves(&self) -> MutexGuard<'_, BTreeMap<String, ShelfModel>> {
        self.shelves.lock().expect("no test panics while it holds the lock")
    }
}

model! {
    /// Configuration of the library.
    pub struct LibraryConfig {
        /// City that the library stands in.
        #[attr(optional, validate(non_empty()))]
        pub city: Value<String>,
    }
}

pub struct LibraryProvider;

impl Provider for LibraryProvider {
    type Config = LibraryConfig;
    type Client = Library;

    const NAME: &'static str = "library";

    async fn configure(&self, _: Configure<LibraryConfig>) -> Result<Library, Diagnostics> {
        Ok(Library::default())
    }
}

model! {
    /// A shelf and the books on it.
    pub struct ShelfModel {
        /// Room that the shelf stands in.
        #[attr(required, replace, validate(dns_label()))]
        pub room: Value<String>,
        /// Number of boards.
        #[attr(default(5), validate(between(1, 20)))]
        pub boards: Value<i64>,
        /// Books by title.
        #[attr(optional)]
        pub books: Value<Map<Book>>,
        /// Where to find the shelf: `ROOM/1`.
        #[attr(computed, keep)]
        pub id: Value<String>,
        /// How many books stand on the shelf.
        #[attr(computed)]
        pub total: Value<i64>,
    }
}

model! {
    /// A book.
    pub struct Book {
        /// Who wrote it.
        #[attr(required)]
        pub author: Value<String>,
    }
}

model! {
    /// Identity of a shelf.
    pub struct ShelfIdentity {
        /// Room that the shelf stands in.
        #[attr(required)]
        pub room: Value<String>,
    }
}

pub struct Shelf;

impl Resource for Shelf {
    type Client = Library;
    type Model = ShelfModel;
    type Identity = ShelfIdentity;
    type Private = ();

    const NAME: &'static str = "shelf";

    fn validate(&self, config: &ShelfModel, diagnostics: &mut Diagnostics) {
        for (title, book) in config.books.entries() {
            if book.author.as_deref() == Some(title) {
                let path = terraform_provider_mesh::value::Path::root("books").key(title).attr("author");
                diagnostics.error_at(path, "Unlikely author", "No book has written itself.");
            }
        }
    }

    async fn plan(&self, _: &mut Ctx<Library>, plan: &mut Plan<'_, ShelfModel>) -> Result<(), Diagnostics> {
        // The number is known as soon as the books are.
        if !plan.planned.books.is_unknown() {
            plan.planned.total = Value::Known(plan.planned.books.keys().count() as i64);
        }
        Ok(())
    }

    async fn apply(&self, cx: &mut Ctx<Library>, change: Change<ShelfModel>) -> Result<ShelfModel, Failed<ShelfModel>> {
        let mut state = change.planned;
        state.id.fill(|| format!("{}/1", change.config.room.text()));
        state.total = Value::Known(state.books.keys().count() as i64);
        cx.client()?.shelves().insert(state.id.text().to_owned(), state.clone());
        Ok(state)
    }

    async fn read(&self, cx: &mut Ctx<Library>, state: ShelfModel) -> Result<Option<ShelfModel>, Diagnostics> {
        Ok(cx.client()?.shelves().get(state.id.text()).cloned())
    }

    async fn delete(&self, cx: &mut Ctx<Library>, state: ShelfModel) -> Result<(), Failed<ShelfModel>> {
        cx.client()?.shelves().remove(state.id.text());
        Ok(())
    }

    async fn import(&self, _: &mut Ctx<Library>, from: Import<ShelfIdentity>) -> Result<ShelfModel, Diagnostics> {
        let id = match from {
            Import::Id(id) => id,
            Import::Identity(identity) => format!("{}/1", identity.room.text()),
        };
        if !id.ends_with("/1") {
            return Err(Diagnostic::error("Malformed id").detail("Expected ROOM/1.").into());
        }
        Ok(ShelfModel { id: Value::Known(id), ..ShelfModel::default() })
    }

    fn identity(&self, model: &ShelfModel) -> ShelfIdentity {
        ShelfIdentity { room: model.room.clone() }
    }
}
