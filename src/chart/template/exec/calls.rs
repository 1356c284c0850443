//! Calls of functions: their arguments evaluated and held against their parameters, `include` and `tpl` executed.

use super::{At, Bound, Evaluated, Executor, Frame, MAX_INCLUDES, is_constant};
use crate::chart::funcs::{self, Function, Param};
use crate::chart::template::ast::{Expr, Number, Term};
use crate::chart::template::failure::Failure;
use crate::chart::template::parse;
use crate::chart::value::Value;
use crate::chart::{budget, print};

impl Executor {
    #[allow(clippy::too_many_arguments)] // One call of Go's evaluator, each part of which a message may name.
    pub(super) fn function<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Bound,
        ident: &'t Expr,
        name: &'t str,
        node: At<'t>,
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Evaluated<Bound> {
        frame.at = At::Expr(ident);
        let Some(function) = funcs::find(name) else {
            return Err(frame.failure(&format!("{name:?} is not a defined function")));
        };
        if name == "and" || name == "or" {
            return self.and_or(frame, dot, name == "or", args, last);
        }
        self.call(frame, dot, function, Vec::new(), name, node, args, last)
    }

    /// `and` and `or` stop at the argument that decides, and leave the rest unevaluated.
    fn and_or<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Bound,
        or: bool,
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Evaluated<Bound> {
        let name = if or { "or" } else { "and" };
        if args.is_empty() && last.is_none() {
            return Err(frame.failure(&format!("wrong number of args for {name}: want at least 1 got 0")));
        }
        let mut value = Bound::concrete(Value::Invalid);
        for arg in args {
            value = self.operand(frame, dot, arg)?;
            if value.value.is_true() == or {
                return Ok(value);
            }
        }
        Ok(last.map_or(value, Bound::concrete))
    }

    /// Calls a function, or a method with its receiver in `argv`.
    #[allow(clippy::too_many_arguments)] // As above.
    pub(super) fn call<'t>(
        &mut self,
        frame: &mut Frame<'t>,
        dot: &Bound,
        function: &'static Function,
        mut argv: Vec<Value>,
        name: &str,
        node: At<'t>,
        args: &'t [Expr],
        last: Option<Value>,
    ) -> Evaluated<Bound> {
        let given = args.len() + usize::from(last.is_some());
        let fixed = function.params.len();
        if function.variadic.is_some() {
            if given < fixed {
                let got = args.len();
                let message = format!("wrong number of args for {name}: want at least {fixed} got {got}");
                return Err(frame.failure(&message));
            }
        } else if given != fixed {
            return Err(frame.failure(&format!("wrong number of args for {name}: want {fixed} got {given}")));
        }
        let param = |i: usize| function.params.get(i).copied().or(function.variadic).unwrap_or(Param::Any);
        for (i, arg) in args.iter().enumerate() {
            argv.push(self.argument(frame, dot, param(i), arg)?);
        }
        if let Some(last) = last {
            argv.push(frame.checked(Bound::concrete(last), param(given - 1))?);
        }
        if name == "call"
            && let Some(callee) = args.first()
            && let [value, ..] = &argv[..]
            && !value.is_nil()
        {
            // No value in a chart's scope is a function.
            frame.at = node;
            let message = format!("error calling call: non-function {callee} of type {}", value.type_name());
            return Err(frame.failure(&message));
        }
        let steps = 1 + argv.iter().map(Value::shallow_steps).sum::<usize>();
        if let Err(spent) = budget::pay(steps, 0) {
            frame.at = node;
            return Err(frame.failure(&spent.to_string()));
        }
        let result = match function.call {
            funcs::Call::Plain(call) => call(&argv).map_err(Failure::plain),
            funcs::Call::Include => self.include(&argv),
            funcs::Call::Tpl => self.tpl(&argv),
            funcs::Call::Fail(call) => call(&argv).map_err(|message| Failure::deliberate(&message)),
        };
        // Functions that cannot fail stop half way once the budget is spent, and others make a value of their failure.
        let result = result.and_then(|value| budget::pay(0, 0).map(|()| value).map_err(Failure::plain));
        result.map(|value| Bound { value, boxed: function.boxed }).map_err(|cause| {
            frame.at = node;
            frame.called(name, cause)
        })
    }

    fn argument<'t>(&mut self, frame: &mut Frame<'t>, dot: &Bound, param: Param, expr: &'t Expr) -> Evaluated<Value> {
        frame.at = At::Expr(expr);
        match (&expr.term, param) {
            (Term::Nil, param) => {
                if param.can_be_nil() {
                    Ok(Value::Nil)
                } else {
                    Err(frame.failure(&format!("cannot assign nil to {}", param.type_name())))
                }
            }
            (Term::Bool(_) | Term::Number(_) | Term::Str { .. }, Param::Any | Param::Reflect) => {
                self.constant(frame, expr)
            }
            (Term::Str { text, .. }, Param::Str) => Ok(Value::Str(text.clone())),
            (_, Param::Str) if is_constant(expr) => Err(frame.failure(&format!("expected string; found {expr}"))),
            (Term::Bool(b), Param::Bool) => Ok(Value::Bool(*b)),
            (_, Param::Bool) if is_constant(expr) => Err(frame.failure(&format!("expected bool; found {expr}"))),
            (Term::Number(Number { int: Some(int), .. }), Param::Int) => Ok(Value::Int(*int)),
            (_, Param::Int) if is_constant(expr) => Err(frame.failure(&format!("expected integer; found {expr}"))),
            (Term::Number(Number { float: Some(float), .. }), Param::Float) => Ok(Value::Float(*float)),
            (_, Param::Float) if is_constant(expr) => Err(frame.failure(&format!("expected float; found {expr}"))),
            (_, param) if is_constant(expr) => {
                Err(frame.failure(&format!("can't handle {expr} for arg of type {}", param.type_name())))
            }
            _ => {
                let value = self.operand(frame, dot, expr)?;
                frame.checked(value, param)
            }
        }
    }

    fn include(&mut self, args: &[Value]) -> Result<Value, Failure> {
        let [Value::Str(name), data] = args else { return Ok(Value::Invalid) };
        let running = self.includes.entry(name.to_string()).or_insert(0);
        if *running > MAX_INCLUDES {
            return Err(Failure::plain(format!(
                "rendering template has a nested reference name: {name}: unable to execute template"
            )));
        }
        *running += 1;
        let result = self.execute(name, to_data(data));
        if let Some(running) = self.includes.get_mut(&**name) {
            *running -= 1;
        }
        result.map(Value::str)
    }

    /// Parses and executes text that a template computed; what it defines is gone afterwards.
    fn tpl(&mut self, args: &[Value]) -> Result<Value, Failure> {
        let [Value::Str(text), data] = args else { return Ok(Value::Invalid) };
        // Its source, its tree and the templates of before are kept while it runs.
        let kept = text.len() * 3 + self.templates.len() * budget::NODE;
        budget::pay(self.templates.len(), kept).map_err(Failure::plain)?;
        let outer = self.templates.clone();
        let result = parse::parse("gotpl", text, &|name| funcs::find(name).is_some(), &mut self.templates)
            .map_err(|message| {
                Failure::wrap(|| format!("cannot parse template {}", print::quote(text)), Failure::plain(message))
            })
            .and_then(|()| {
                self.execute("gotpl", to_data(data)).map_err(|cause| {
                    let place = || format!("error during tpl function execution for {}", print::quote(text));
                    Failure::wrap(place, cause)
                })
            });
        self.templates = outer;
        result.map(|out| Value::str(out.replace("<no value>", "")))
    }
}

/// What an interface passed to Execute holds.
fn to_data(value: &Value) -> Value {
    if value.is_nil() { Value::Invalid } else { value.clone() }
}
