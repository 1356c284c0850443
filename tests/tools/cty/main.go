// Encodes and decodes values as Terraform does, with Terraform's own library.
//
// One JSON case a line on standard input, one JSON answer a line.
//
//	{"type": T, "value": V}        -> {"msgpack": "<hex>", "json": V}
//	{"type": T, "msgpack": "<hex>"} -> {"value": V, "msgpack": "<hex of encoding it again>"}
//
// T is a type in cty's JSON notation. Inside V, {"$unknown": {}} is an unknown value, which may carry
// refinements: "not_null": true, "prefix": "s", "min": n, "max": n (numbers, inclusive),
// "min_length": n, "max_length": n (collections); {"$dynamic": {"type": T, "value": V}} is a value of
// the dynamic type. An answer to a bad case is {"error": "..."}.
package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"os"

	"github.com/zclconf/go-cty/cty"
	ctyjson "github.com/zclconf/go-cty/cty/json"
	"github.com/zclconf/go-cty/cty/msgpack"
)

type testCase struct {
	Type    json.RawMessage `json:"type"`
	Value   json.RawMessage `json:"value"`
	Msgpack *string         `json:"msgpack"`
}

type object = map[string]any

func main() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	for {
		var c testCase
		if err := in.Decode(&c); err == io.EOF {
			return
		} else if err != nil {
			log.Fatal(err)
		}
		a, err := run(c)
		if err != nil {
			a = object{"error": err.Error()}
		}
		if err := out.Encode(a); err != nil {
			log.Fatal(err)
		}
	}
}

func run(c testCase) (a object, err error) {
	defer func() { // cty panics on values that do not fit their type
		if p := recover(); p != nil {
			err = fmt.Errorf("%v", p)
		}
	}()
	ty, err := ctyjson.UnmarshalType(c.Type)
	if err != nil {
		return nil, fmt.Errorf("type: %w", err)
	}
	var v cty.Value
	if c.Msgpack != nil {
		raw, err := hex.DecodeString(*c.Msgpack)
		if err != nil {
			return nil, err
		}
		if v, err = msgpack.Unmarshal(raw, ty); err != nil {
			return nil, err
		}
	} else if v, err = decode(ty, c.Value); err != nil {
		return nil, err
	}
	b, err := msgpack.Marshal(v, ty)
	if err != nil {
		return nil, err
	}
	a = object{"msgpack": hex.EncodeToString(b), "go": fmt.Sprintf("%#v", v)}
	if v.IsWhollyKnown() {
		j, err := ctyjson.Marshal(v, ty)
		if err != nil {
			return nil, err
		}
		a["json"] = json.RawMessage(j)
	}
	if c.Msgpack != nil {
		a["value"] = encode(v, ty)
	}
	return a, nil
}
