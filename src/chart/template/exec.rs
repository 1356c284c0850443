//! Executes a template by walking its tree.

mod calls;

use std::collections::HashMap;

use super::ast::{Branch, Command, Expr, Node, Number, Pipe, Pos, Template, Term};
use super::failure::Failure;
use super::parse::Templates;
use crate::chart::funcs::{self, Param};
use crate::chart::value::{Element, List, MapKind, Value};
use crate::chart::{budget, print};

/// How often one `include` may be inside itself, as in Helm.
const MAX_INCLUDES: usize = 1000;
/// Everything that recurs counts as one: a template in a template, a block in a block, a parenthesis in a parenthesis.
/// Each takes some ten kilobytes of stack in a build without optimisation, of which the thread has 512 MiB. Go allows
/// more on its growing stack; nothing real comes near.
const MAX_DEPTH: usize = 20_000;

/// One rendering of any number of templates, which see each other and share limits.
pub(in crate::chart) struct Executor {
    templates: Templates,
    /// Running `include`s by name.
    includes: HashMap<String, usize>,
    depth: usize,
}

/// A value, and whether it came out of an interface: Go's messages then name `interface {}` as its type.
#[derive(Clone)]
struct Bound {
    value: Value,
    boxed: bool,
}

impl Bound {
    fn concrete(value: Value) -> Self {
        Self { value, boxed: false }
    }

    fn boxed(value: Value) -> Self {
        Self { value, boxed: true }
    }

    /// What a pipeline makes of it: an interface is looked into, and an empty one is no value at all.
    fn unwrapped(self) -> Value {
        if matches!(self.value, Value::Nil) { Value::Invalid } else { self.value }
    }

    fn type_name(&self) -> &'static str {
        if self.boxed || matches!(self.value, Value::Nil) { "interface {}" } else { self.value.type_name() }
    }
}

enum Stop {
    Break,
    Continue,
    Failed(Box<Failure>),
}

impl From<Box<Failure>> for Stop {
    fn from(failure: Box<Failure>) -> Self {
        Self::Failed(failure)
    }
}

type Evaluated<T> = Result<T, Box<Failure>>;

/// The node a message points to: the one visited last.
#[derive(Clone, Copy)]
enum At<'t> {
    Start,
    Node(&'t Node),
    Pipe(&'t Pipe),
    Command(&'t Command),
    Expr(&'t Expr),
}

/// The execution of one template: its variables and its output.
struct Frame<'t> {
    name: &'t str,
    template: &'t Template,
    at: At<'t>,
    variables: Vec<(&'t str, Bound)>,
    out: &'t mut String,
}

impl Executor {
    pub(in crate::chart) fn new(templates: Templates) -> Self {
        Self { templates, includes: HashMap::new(), depth: 0 }
    }

    /// Executes a named template with `data` as its dot.
    pub(in crate::chart) fn execute(&mut self, name: &str, data: Value) -> Result<String, Failure> {
        let Some(template) = self.templates.get(name).cloned() else {
            return Err(Failure::plain(format!("template: no template {name:?} associated with template \"gotpl\"")));
        };
        let mut out = String::new();
        self.run(name, &template, Bound::concrete(data), &mut out).map_err(|failure| *failure)?;
        Ok(out)
    }

    fn run(&mut self, name: &str, template: &Template, dot: Bound, out: &mut String) -> Evaluated<()> {
        let mut frame = Frame { name, template, at: At::Start, variables: vec![("$", dot.clone())], out };
        self.enter(&frame)?;
        let result = match self.walk_all(&mut frame, &dot, &template.root) {
            Err(Stop::Failed(failure)) => Err(failure),
            _ => Ok(()),
        };
        self.depth -= 1;
        result
    }

    /// Goes one step down; after a failure nothing is executed any more, so only success has to come up again.
    fn enter(&mut self, frame: &Frame<'_>) -> Evaluated<()> {
        if self.depth >= MAX_DEPTH {
            return Err(frame.failure("exceeded maximum template depth (100000)"));
        }
        self.depth += 1;
        self.step(frame)
    }

    fn walk_all<'t>(&mut self, frame: &mut Frame<'t>, dot: &Bound, nodes: &'t [Node]) -> Result<(), Stop> {
        nodes.iter().try_for_each(|node| self.walk(frame, dot, node))
    }

    fn walk<'t>(&mut self, frame: &mut Frame<'t>, dot: &Bound, node: &'t Node) -> Result<(), Stop> {
        frame.at = At::Node(node);
        self.enter(frame)?;
        let result = self.walk_node(frame, dot, node);
        self.depth -= 1;
        result
    }

    fn walk_node<'t>(&mut self, frame: &mut Frame<'t>, dot: &Bound, node: &'t Node) -> Result<(), Stop> {
        match node {
            Node::Text(text) => frame.write(text)?,
            Node::Action { pipe, .. } => {
                let value = self.pipeline(frame, dot, pipe)?;
                if pipe.variables.is_empty() {
                    frame.at = At::Node(node);
                    match &value {
                        Value::Str(text) => frame.write(text)?,
                        Value::Invalid => frame.write("<no value>")?,
                        value => frame.write(&print::output(value))?,
                    }
                }
            }
            Node::If(branch) => self.branch(frame, dot, branch, false)?,
            Node::With(branch) => self.branch(frame, dot, branch, true)?,
            Node::Range(branch) => self.range(frame, dot, branch)?,
            Node::Template { name, pipe, .. } => {
                let Some(template) = self.templates.get(name).cloned() else {
                    return Err(frame.failure(&format!("template {name:?} not defined")).into());
                };
                let data = match pipe {
                    Some(pipe) => self.pipeline(frame, dot, pipe)?,
                    None => Value::Invalid,
                };
                self.run(name, &template, Bound::concrete(data), frame.out)?;
            }
            Node::Break => return Err(Stop::Break),
            Node::Continue => return Err(Stop::Continue),
        }
        Ok(())
    }

    fn step(&mut self, frame: &Frame<'_>) -> Evaluated<()> {
        self.pay(frame, 1, 0)
    }

    fn pay(&mut self, frame: &Frame<'_>, steps: usize, bytes: usize) -> Evaluated<()> {
        budget::pay(steps, bytes).map_err(|spent| frame.failure(&spent.to_string()))
    }

    fn branch<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Bound,
        branch: &'t Branch,
        sets_dot: bool,
    ) -> Result<(), Stop> {
        let mark = frame.variables.len();
        let value = self.pipeline(frame, dot, &branch.pipe)?;
        if value.is_true() {
            let inner = if sets_dot { Bound::concrete(value) } else { dot.clone() };
            self.walk_all(frame, &inner, &branch.body)?;
        } else if let Some(otherwise) = &branch.otherwise {
            self.walk_all(frame, dot, otherwise)?;
        }
        frame.variables.truncate(mark);
        Ok(())
    }

    fn range<'t>(&mut self, frame: &mut Frame<'t>, dot: &Bound, branch: &'t Branch) -> Result<(), Stop> {
        let outer = frame.variables.len();
        let value = self.pipeline(frame, dot, &branch.pipe)?;
        let mut ran = false;
        let result = match &value {
            Value::Invalid | Value::Nil => Ok(()),
            Value::Int(_) | Value::Int64(_) if branch.pipe.variables.len() > 1 => {
                let text = print::display(&value);
                let message = format!("can't use {text} to iterate over more than one variable");
                return Err(frame.failure(&message).into());
            }
            Value::Int(count) | Value::Int64(count) => (0..*count).try_for_each(|i| {
                ran = true;
                let element = if matches!(value, Value::Int(_)) { Value::Int(i) } else { Value::Int64(i) };
                self.iteration(frame, branch, Bound::concrete(Value::Invalid), Bound::concrete(element))
            }),
            Value::List(List { items, element }) => items.iter().enumerate().try_for_each(|(i, item)| {
                ran = true;
                let index = Bound::concrete(Value::Int(i as i64));
                let item = Bound { value: item.clone(), boxed: *element == Element::Any };
                self.iteration(frame, branch, index, item)
            }),
            Value::Map(map) => {
                self.pay(frame, map.borrow().len() / 16, map.borrow().len() * budget::NODE)?;
                let entries: Vec<_> = map.borrow().iter().map(|(k, v)| (k.clone(), v.clone())).collect();
                let boxed = map.kind() != MapKind::Strings;
                entries.into_iter().try_for_each(|(key, value)| {
                    ran = true;
                    self.iteration(frame, branch, Bound::concrete(Value::Str(key)), Bound { value, boxed })
                })
            }
            Value::Native(native) => match funcs::range_native(native) {
                Some(entries) => entries.into_iter().try_for_each(|(key, value)| {
                    ran = true;
                    self.iteration(frame, branch, Bound::concrete(key), Bound::concrete(value))
                }),
                None => return Err(frame.cannot_iterate(&value).into()),
            },
            _ => return Err(frame.cannot_iterate(&value).into()),
        };
        match result {
            Ok(()) | Err(Stop::Break) => {}
            Err(stop) => return Err(stop),
        }
        if !ran && let Some(otherwise) = &branch.otherwise {
            self.walk_all(frame, dot, otherwise)?;
        }
        frame.variables.truncate(outer);
        Ok(())
    }

    fn iteration<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        branch: &'t Branch,
        index: Bound,
        element: Bound,
    ) -> Result<(), Stop> {
        self.step(frame)?;
        let pipe = &branch.pipe;
        let values = match pipe.variables.len() {
            0 => vec![],
            1 => vec![element.clone()],
            _ => vec![index, element.clone()],
        };
        for (name, value) in pipe.variables.iter().zip(values) {
            // A declared variable is in place since the pipeline; its value changes with each round.
            frame.assign(name, value)?;
        }
        let mark = frame.variables.len();
        let result = self.walk_all(frame, &element, &branch.body);
        frame.variables.truncate(mark);
        match result {
            Err(Stop::Continue) => Ok(()),
            result => result,
        }
    }

    fn pipeline<'t>(&mut self, frame: &mut Frame<'t>, dot: &Bound, pipe: &'t Pipe) -> Evaluated<Value> {
        frame.at = At::Pipe(pipe);
        self.enter(frame)?;
        let mut value: Option<Value> = None;
        for command in &pipe.commands {
            value = Some(self.command(frame, dot, command, value.take())?.unwrapped());
        }
        let value = value.unwrap_or(Value::Invalid);
        for name in &pipe.variables {
            let bound = Bound::concrete(value.clone());
            if pipe.assigns {
                frame.assign(name, bound)?;
            } else {
                frame.variables.push((name, bound));
            }
        }
        self.depth -= 1;
        Ok(value)
    }

    /// Evaluates one stage of a pipeline; `last` is the result of the stage before.
    fn command<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Bound,
        command: &'t Command,
        last: Option<Value>,
    ) -> Evaluated<Bound> {
        self.step(frame)?;
        let first = &command.args[0];
        let args = &command.args[1..];
        match &first.term {
            Term::Field(names) => {
                frame.at = At::Expr(first);
                self.fields(frame, dot, dot.clone(), names, At::Expr(first), args, last)
            }
            Term::Chain(inner, names) => {
                let receiver = self.chain_receiver(frame, dot, first, inner)?;
                self.fields(frame, dot, receiver, names, At::Expr(first), args, last)
            }
            Term::Function(name) => self.function(frame, dot, first, name, At::Command(command), args, last),
            Term::Pipe(pipe) => {
                frame.not_a_function(first, args, &last)?;
                self.pipeline(frame, dot, pipe).map(Bound::concrete)
            }
            Term::Variable(names) => {
                frame.at = At::Expr(first);
                let value = frame.variable(&names[0])?;
                if names.len() == 1 {
                    frame.not_a_function(first, args, &last)?;
                    return Ok(value);
                }
                self.fields(frame, dot, value, &names[1..], At::Expr(first), args, last)
            }
            term => {
                frame.at = At::Expr(first);
                frame.not_a_function(first, args, &last)?;
                match term {
                    Term::Dot => Ok(dot.clone()),
                    Term::Nil => Err(frame.failure("nil is not a command")),
                    _ => self.constant(frame, first).map(Bound::concrete),
                }
            }
        }
    }

    fn chain_receiver<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Bound,
        chain: &'t Expr,
        inner: &'t Expr,
    ) -> Evaluated<Bound> {
        frame.at = At::Expr(chain);
        if matches!(inner.term, Term::Nil) {
            return Err(frame.failure(&format!("indirection through explicit nil in {chain}")));
        }
        self.operand(frame, dot, inner)
    }

    /// The value of an operand whose wanted type does not matter.
    fn operand<'t>(&mut self, frame: &mut Frame<'t>, dot: &Bound, expr: &'t Expr) -> Evaluated<Bound> {
        frame.at = At::Expr(expr);
        match &expr.term {
            Term::Dot => Ok(dot.clone()),
            Term::Nil => Ok(Bound::concrete(Value::Nil)),
            Term::Field(names) => self.fields(frame, dot, dot.clone(), names, At::Expr(expr), &[], None),
            Term::Variable(names) => {
                let value = frame.variable(&names[0])?;
                if names.len() == 1 {
                    return Ok(value);
                }
                self.fields(frame, dot, value, &names[1..], At::Expr(expr), &[], None)
            }
            Term::Pipe(pipe) => self.pipeline(frame, dot, pipe).map(Bound::concrete),
            Term::Function(name) => self.function(frame, dot, expr, name, At::Expr(expr), &[], None),
            Term::Chain(inner, names) => {
                let receiver = self.chain_receiver(frame, dot, expr, inner)?;
                self.fields(frame, dot, receiver, names, At::Expr(expr), &[], None)
            }
            Term::Bool(_) | Term::Number(_) | Term::Str { .. } => self.constant(frame, expr).map(Bound::concrete),
        }
    }

    fn constant(&mut self, frame: &Frame<'_>, expr: &Expr) -> Evaluated<Value> {
        match &expr.term {
            Term::Bool(b) => Ok(Value::Bool(*b)),
            Term::Str { text, .. } => Ok(Value::Str(text.clone())),
            Term::Number(number) => {
                ideal(number).ok_or_else(|| frame.failure(&format!("{} overflows int", number.text)))
            }
            _ => Ok(Value::Invalid),
        }
    }

    #[allow(clippy::too_many_arguments)] // One call of Go's evaluator, each part of which a message may name.
    fn fields<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Bound,
        receiver: Bound,
        names: &'t [String],
        node: At<'t>,
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Evaluated<Bound> {
        let Some((method, path)) = names.split_last() else { return Ok(receiver) };
        let mut receiver = receiver;
        for name in path {
            receiver = self.field(frame, dot, receiver, name, node, &[], None)?;
        }
        self.field(frame, dot, receiver, method, node, args, last)
    }

    #[allow(clippy::too_many_arguments)] // As above.
    fn field<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Bound,
        receiver: Bound,
        name: &'t str,
        node: At<'t>,
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Evaluated<Bound> {
        let called = !args.is_empty() || last.is_some();
        match &receiver.value {
            Value::Invalid => return Ok(Bound::concrete(Value::Invalid)),
            Value::Nil => {
                return Err(frame.failure(&format!("nil pointer evaluating interface {{}}.{name}")));
            }
            Value::Native(native) => {
                if let Some(method) = funcs::method(native, name) {
                    let receiver = vec![receiver.value.clone()];
                    return self.call(frame, dot, method, receiver, name, node, args, last);
                }
                if let Some(value) = funcs::native_field(native, name) {
                    if called {
                        let message = format!("{name} has arguments but cannot be invoked as function");
                        return Err(frame.failure(&message));
                    }
                    return Ok(Bound::concrete(value));
                }
            }
            Value::Map(map) => {
                if called {
                    return Err(frame.failure(&format!("{name} is not a method but has arguments")));
                }
                let value = map.get(name);
                return Ok(match map.kind() {
                    MapKind::Strings => Bound::concrete(value.unwrap_or_else(|| Value::str(""))),
                    _ => Bound::boxed(value.unwrap_or(Value::Nil)),
                });
            }
            _ => {}
        }
        Err(frame.failure(&format!("can't evaluate field {name} in type {}", receiver.type_name())))
    }
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr.term, Term::Bool(_) | Term::Number(_) | Term::Str { .. })
}

/// A number where nothing says which type it should have.
fn ideal(number: &Number) -> Option<Value> {
    let text = &number.text;
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let looks_float = text.contains(['.', 'e', 'E', 'p', 'P']) && !text.starts_with('\'');
    match (number.float, number.int) {
        (Some(float), _) if looks_float && (!hex || text.contains(['p', 'P'])) => Some(Value::Float(float)),
        (_, Some(int)) => Some(Value::Int(int)),
        _ if number.unsigned => None,
        _ => Some(Value::Invalid),
    }
}

impl<'t> Frame<'t> {
    fn write(&mut self, text: &str) -> Evaluated<()> {
        budget::pay(text.len() / 64, text.len()).map_err(|spent| self.failure(&spent.to_string()))?;
        self.out.push_str(text);
        Ok(())
    }

    fn variable(&self, name: &str) -> Evaluated<Bound> {
        budget::pay(self.variables.len() / 16, 0).map_err(|spent| self.failure(&spent.to_string()))?;
        match self.variables.iter().rev().find(|(known, _)| *known == name) {
            Some((_, value)) => Ok(value.clone()),
            None => Err(self.failure(&format!("undefined variable: {name}"))),
        }
    }

    fn assign(&mut self, name: &str, value: Bound) -> Evaluated<()> {
        budget::pay(self.variables.len() / 16, 0).map_err(|spent| self.failure(&spent.to_string()))?;
        match self.variables.iter_mut().rev().find(|(known, _)| *known == name) {
            Some(slot) => {
                slot.1 = value;
                Ok(())
            }
            None => Err(self.failure(&format!("undefined variable: {name}"))),
        }
    }

    fn not_a_function(&self, first: &Expr, args: &[Expr], last: &Option<Value>) -> Evaluated<()> {
        if args.is_empty() && last.is_none() {
            return Ok(());
        }
        Err(self.failure(&format!("can't give argument to non-function {first}")))
    }

    /// Checks a value against a parameter's type; what is returned fits it.
    fn checked(&self, bound: Bound, param: Param) -> Evaluated<Value> {
        match &bound.value {
            Value::Invalid if param.can_be_nil() => Ok(Value::Nil),
            Value::Invalid => Err(self.failure(&format!("invalid value; expected {}", param.type_name()))),
            value if param.accepts(value) => Ok(bound.value),
            value => {
                let got = if matches!(value, Value::Nil) { "interface {}" } else { value.type_name() };
                let wanted = param.type_name();
                Err(self.failure(&format!("wrong type for value; expected {wanted}; got {got}")))
            }
        }
    }

    fn cannot_iterate(&self, value: &Value) -> Box<Failure> {
        self.failure(&format!("range can't iterate over {}", print::display(value)))
    }

    fn failure(&self, message: &str) -> Box<Failure> {
        Box::new(Failure::located(self.located(message)))
    }

    /// The failure of a function that was called here.
    fn called(&self, name: &str, cause: Failure) -> Box<Failure> {
        let text = |inner: &str| self.located(&format!("error calling {name}: {inner}"));
        Box::new(Failure::located_around(cause, text))
    }

    fn located(&self, message: &str) -> String {
        let (pos, context) = match self.at {
            At::Start => return format!("template: {}: {message}", self.name),
            At::Node(node) => node_context(node),
            At::Pipe(pipe) => (pipe.pos, pipe.to_string()),
            At::Command(command) => (command.pos, command.to_string()),
            At::Expr(expr) => (expr.pos, expr.to_string()),
        };
        let source = &self.template.source;
        let before = source.text.get(..pos).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = pos - before.rfind('\n').map_or(0, |i| i + 1);
        let name = print::quote(self.name);
        format!("template: {}:{line}:{column}: executing {name} at <{context}>: {message}", source.name)
    }
}

fn node_context(node: &Node) -> (Pos, String) {
    match node {
        Node::Action { pos, pipe } => (*pos, format!("{{{{{pipe}}}}}")),
        Node::If(branch) | Node::With(branch) | Node::Range(branch) => (branch.pos, branch.pipe.to_string()),
        Node::Template { pos, name, pipe } => {
            let pipe = pipe.as_ref().map(|pipe| format!(" {pipe}")).unwrap_or_default();
            (*pos, format!("{{{{template {}{pipe}}}}}", print::quote(name)))
        }
        Node::Text(_) | Node::Break | Node::Continue => (0, String::new()),
    }
}
