//! Types and values by chance, but the same on every machine.

use terraform_provider_mesh::schema::{Attribute, Nested, Nesting, Shape};
use terraform_provider_mesh::value::{Bound, Dyn, Refinements, Type};

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % bound
    }

    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    pub fn ty(&mut self, depth: usize) -> Type {
        let element = |random: &mut Self| random.ty(depth - 1);
        match self.below(if depth == 0 { 4 } else { 9 }) {
            0 => Type::String,
            1 => Type::Bool,
            2 => Type::Number,
            3 => Type::Dynamic,
            // A collection's elements are all of one type, which what is dynamic would hide.
            4 => Type::list(without_dynamic(element(self))),
            // A set holds nothing dynamic.
            5 => Type::set(
                [Type::String, Type::Number, Type::list(Type::Bool), Type::set(Type::Number)][self.below(4)].clone(),
            ),
            6 => Type::map(without_dynamic(element(self))),
            7 => Type::object((0..self.below(4)).map(|i| (format!("a{i}"), element(self)))),
            _ => Type::Tuple((0..self.below(3)).map(|_| element(self)).collect()),
        }
    }

    pub fn value(&mut self, ty: &Type, depth: usize, unknowns: bool) -> Dyn {
        match self.below(12) {
            0 => return Dyn::Null,
            1 if unknowns => return self.unknown(ty),
            _ => {}
        }
        let count = self.below(4);
        match ty {
            Type::String => Dyn::from(
                ["", "a", "e\u{301}", "Å", "\u{1F600}", "long enough to need another length byte"][self.below(6)],
            ),
            Type::Bool => Dyn::Bool(self.below(2) == 0),
            Type::Number => Dyn::Number(self.number().parse().expect("a number")),
            Type::Dynamic if depth == 0 => Dyn::Dynamic(Type::String, Box::new("x".into())),
            Type::Dynamic => {
                let ty = match self.ty(depth - 1) {
                    Type::Dynamic => Type::Bool,
                    ty => ty,
                };
                // cty knows no type for the elements of what is dynamic within a dynamic value.
                let ty = without_dynamic(ty);
                let inner = self.value(&ty, depth - 1, unknowns);
                Dyn::Dynamic(ty, Box::new(inner))
            }
            Type::List(element) => {
                let element = &**element;
                Dyn::List((0..count).map(|_| self.value(element, depth, unknowns)).collect())
            }
            // Which elements are equal is not known while some are unknown.
            Type::Set(element) => Dyn::set((0..count).map(|_| self.value(element, depth, false)).collect::<Vec<_>>()),
            Type::Map(element) => {
                Dyn::Map((0..count).map(|i| (format!("k{i}"), self.value(element, depth, unknowns))).collect())
            }
            Type::Object(types) => {
                Dyn::object(types.iter().map(|(name, ty)| (name, self.value(ty, depth, unknowns))).collect::<Vec<_>>())
            }
            Type::Tuple(types) => Dyn::Tuple(types.iter().map(|ty| self.value(ty, depth, unknowns)).collect()),
        }
    }

    /// A configuration as the cores would let it through: what only the provider sets is null, what is required is not.
    pub fn config(&mut self, attributes: &[Attribute]) -> Dyn {
        Dyn::object(
            attributes.iter().map(|attribute| (&attribute.name, self.configured(attribute))).collect::<Vec<_>>(),
        )
    }

    fn configured(&mut self, attribute: &Attribute) -> Dyn {
        if attribute.is_computed_only() || !attribute.required && self.below(2) == 0 {
            return Dyn::Null;
        }
        if self.below(8) == 0 {
            return Dyn::UNKNOWN;
        }
        match &attribute.shape {
            Shape::Nested(Nested { nesting, attributes }) => {
                let count = self.below(3);
                match nesting {
                    Nesting::Single => self.config(attributes),
                    Nesting::List => Dyn::List((0..count).map(|_| self.config(attributes)).collect()),
                    Nesting::Set => Dyn::set((0..count).map(|_| self.config(attributes)).collect::<Vec<_>>()),
                    Nesting::Map => Dyn::Map((0..count).map(|i| (format!("k{i}"), self.config(attributes))).collect()),
                }
            }
            Shape::Type(ty) => loop {
                let value = self.value(ty, 2, true);
                if !value.is_null() {
                    break value;
                }
            },
        }
    }

    fn unknown(&mut self, ty: &Type) -> Dyn {
        let refinements = match (ty, self.below(3)) {
            (Type::Dynamic, _) | (_, 0) => return Dyn::UNKNOWN,
            (Type::String, 1) => {
                Refinements { null: Some(false), prefix: Some("pre-".to_owned()), ..Default::default() }
            }
            (Type::Number, 1) => Refinements {
                null: Some(false),
                min: Some(Bound { number: (-3_i64).into(), inclusive: true }),
                max: Some(Bound { number: "2.5".parse().expect("a number"), inclusive: true }),
                ..Default::default()
            },
            (Type::List(_) | Type::Map(_), 1) => {
                Refinements { null: Some(false), min_length: Some(1), max_length: Some(3), ..Default::default() }
            }
            _ => Refinements { null: Some(false), ..Default::default() },
        };
        Dyn::Unknown(Some(Box::new(refinements)))
    }

    fn number(&mut self) -> String {
        let sign = if self.below(2) == 0 { "" } else { "-" };
        let digits = |random: &mut Self, count: usize| {
            (0..count).map(|_| char::from(b'0' + random.below(10) as u8)).collect::<String>()
        };
        match self.below(4) {
            0 => format!("{sign}{}", self.below(70_000)),
            1 => format!("{sign}{}.5", self.below(1000)),
            2 => {
                let fraction = self.below(12) + 1;
                format!("{sign}{}.{}", self.below(1000), digits(self, fraction))
            }
            _ => format!("{sign}1{}", digits(self, 25)),
        }
    }
}

fn without_dynamic(ty: Type) -> Type {
    match ty {
        Type::Dynamic => Type::String,
        Type::List(element) => Type::list(without_dynamic(*element)),
        Type::Map(element) => Type::map(without_dynamic(*element)),
        Type::Object(types) => Type::object(types.into_iter().map(|(name, ty)| (name, without_dynamic(ty)))),
        Type::Tuple(types) => Type::Tuple(types.into_iter().map(without_dynamic).collect()),
        plain => plain,
    }
}
