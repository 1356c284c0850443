package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// special holds the objects by which a case says what JSON cannot.
type special struct {
	Unknown *struct {
		NotNull   bool         `json:"not_null"`
		Prefix    string       `json:"prefix"`
		Min       *json.Number `json:"min"`
		Max       *json.Number `json:"max"`
		MinLength *int         `json:"min_length"`
		MaxLength *int         `json:"max_length"`
	} `json:"$unknown"`
	Dynamic *struct {
		Type  json.RawMessage `json:"type"`
		Value json.RawMessage `json:"value"`
	} `json:"$dynamic"`
}

func decode(ty cty.Type, raw json.RawMessage) (cty.Value, error) {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || string(raw) == "null" {
		return cty.NullVal(ty), nil
	}
	if raw[0] == '{' {
		var s special
		if err := json.Unmarshal(raw, &s); err == nil {
			if s.Unknown != nil {
				return unknown(ty, s)
			}
			if s.Dynamic != nil {
				inner, err := ctyjson.UnmarshalType(s.Dynamic.Type)
				if err != nil {
					return cty.NilVal, err
				}
				return decode(inner, s.Dynamic.Value)
			}
		}
	}
	switch {
	case ty == cty.String:
		var s string
		err := json.Unmarshal(raw, &s)
		return cty.StringVal(s), err
	case ty == cty.Bool:
		var b bool
		err := json.Unmarshal(raw, &b)
		return cty.BoolVal(b), err
	case ty == cty.Number:
		return cty.ParseNumberVal(string(bytes.Trim(raw, `"`)))
	case ty.IsListType(), ty.IsSetType(), ty.IsTupleType():
		return sequence(ty, raw)
	case ty.IsMapType(), ty.IsObjectType():
		return mapping(ty, raw)
	}
	return cty.NilVal, fmt.Errorf("no value of type %s can be read from %s", ty.FriendlyName(), raw)
}

func unknown(ty cty.Type, s special) (cty.Value, error) {
	v, u := cty.UnknownVal(ty), s.Unknown
	if ty == cty.DynamicPseudoType {
		return cty.DynamicVal, nil
	}
	r := v.Refine()
	if u.NotNull {
		r = r.NotNull()
	}
	if u.Prefix != "" {
		r = r.StringPrefixFull(u.Prefix)
	}
	if u.Min != nil {
		r = r.NumberRangeLowerBound(cty.MustParseNumberVal(u.Min.String()), true)
	}
	if u.Max != nil {
		r = r.NumberRangeUpperBound(cty.MustParseNumberVal(u.Max.String()), true)
	}
	if u.MinLength != nil {
		r = r.CollectionLengthLowerBound(*u.MinLength)
	}
	if u.MaxLength != nil {
		r = r.CollectionLengthUpperBound(*u.MaxLength)
	}
	return r.NewValue(), nil
}

func sequence(ty cty.Type, raw json.RawMessage) (cty.Value, error) {
	var items []json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return cty.NilVal, err
	}
	vals := make([]cty.Value, len(items))
	for i, item := range items {
		var et cty.Type
		if ty.IsTupleType() {
			et = ty.TupleElementType(i)
		} else {
			et = ty.ElementType()
		}
		v, err := decode(et, item)
		if err != nil {
			return v, err
		}
		vals[i] = v
	}
	switch {
	case ty.IsTupleType():
		return cty.TupleVal(vals), nil
	case ty.IsSetType() && len(vals) == 0:
		return cty.SetValEmpty(ty.ElementType()), nil
	case ty.IsSetType():
		return cty.SetVal(vals), nil
	case len(vals) == 0:
		return cty.ListValEmpty(ty.ElementType()), nil
	}
	return cty.ListVal(vals), nil
}

func mapping(ty cty.Type, raw json.RawMessage) (cty.Value, error) {
	var items map[string]json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil {
		return cty.NilVal, err
	}
	vals := make(map[string]cty.Value, len(items))
	if ty.IsObjectType() {
		for name, at := range ty.AttributeTypes() {
			v, err := decode(at, items[name])
			if err != nil {
				return v, err
			}
			vals[name] = v
		}
		return cty.ObjectVal(vals), nil
	}
	for key, item := range items {
		v, err := decode(ty.ElementType(), item)
		if err != nil {
			return v, err
		}
		vals[key] = v
	}
	if len(vals) == 0 {
		return cty.MapValEmpty(ty.ElementType()), nil
	}
	return cty.MapVal(vals), nil
}

// encode is decode's inverse, without refinements: they are compared by the bytes.
func encode(v cty.Value, ty cty.Type) any {
	switch {
	case !v.IsKnown():
		return object{"$unknown": object{}}
	case v.IsNull():
		return nil
	case ty == cty.DynamicPseudoType:
		t, _ := ctyjson.MarshalType(v.Type())
		return object{"$dynamic": object{"type": json.RawMessage(t), "value": encode(v, v.Type())}}
	case ty == cty.String:
		return v.AsString()
	case ty == cty.Bool:
		return v.True()
	case ty == cty.Number:
		return json.Number(v.AsBigFloat().Text('f', -1))
	case ty.IsMapType(), ty.IsObjectType():
		out := object{}
		for it := v.ElementIterator(); it.Next(); {
			k, e := it.Element()
			out[k.AsString()] = encode(e, elementType(ty, k))
		}
		return out
	}
	out := []any{}
	for it := v.ElementIterator(); it.Next(); {
		_, e := it.Element()
		out = append(out, encode(e, e.Type()))
	}
	return out
}

func elementType(ty cty.Type, key cty.Value) cty.Type {
	if ty.IsObjectType() {
		return ty.AttributeType(key.AsString())
	}
	return ty.ElementType()
}
