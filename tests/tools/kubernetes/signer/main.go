// The signer of a cluster's ServiceAccount tokens, for an API server that has `--service-account-signing-endpoint`: a
// signer may say that it signs for ten minutes at most, where the API server's own limit cannot be below an hour.
//
//	signer --socket f --key f --longest 10m
//
// It signs with the key of that file, which it reads anew for each call, and names it as API servers name their own.
package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"
	"gopkg.in/go-jose/go-jose.v2"
	externaljwt "k8s.io/externaljwt/apis/v1"
)

func main() {
	socket, key := flag.String("socket", "", "where it listens"), flag.String("key", "", "private key")
	longest := flag.Duration("longest", time.Hour, "the longest life of a token")
	flag.Parse()
	// A signer of before may have left it.
	_ = os.Remove(*socket)
	listener, err := net.Listen("unix", *socket)
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	externaljwt.RegisterExternalJWTSignerServer(server, signer{file: *key, longest: *longest})
	log.Fatal(server.Serve(listener))
}

type signer struct {
	externaljwt.UnimplementedExternalJWTSignerServer
	file    string
	longest time.Duration
}

func (s signer) Sign(_ context.Context, request *externaljwt.SignJWTRequest) (*externaljwt.SignJWTResponse, error) {
	key, id, _, err := s.read()
	if err != nil {
		return nil, err
	}
	claims, err := base64.RawURLEncoding.DecodeString(request.Claims)
	if err != nil {
		return nil, err
	}
	named := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: id}}
	by, err := jose.NewSigner(named, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return nil, err
	}
	signed, err := by.Sign(claims)
	if err != nil {
		return nil, err
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		return nil, err
	}
	parts := strings.Split(token, ".")
	return &externaljwt.SignJWTResponse{Header: parts[0], Signature: parts[2]}, nil
}

func (s signer) FetchKeys(context.Context, *externaljwt.FetchKeysRequest) (*externaljwt.FetchKeysResponse, error) {
	_, id, public, err := s.read()
	if err != nil {
		return nil, err
	}
	return &externaljwt.FetchKeysResponse{
		Keys:               []*externaljwt.Key{{KeyId: id, Key: public}},
		DataTimestamp:      timestamppb.Now(),
		RefreshHintSeconds: 60,
	}, nil
}

func (s signer) Metadata(context.Context, *externaljwt.MetadataRequest) (*externaljwt.MetadataResponse, error) {
	return &externaljwt.MetadataResponse{MaxTokenExpirationSeconds: int64(s.longest.Seconds())}, nil
}

// read gives the key, its name and its public half.
func (s signer) read() (*ecdsa.PrivateKey, string, []byte, error) {
	text, err := os.ReadFile(s.file)
	if err != nil {
		return nil, "", nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, "", nil, fmt.Errorf("%s holds no key", s.file)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, "", nil, err
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, "", nil, fmt.Errorf("%s holds a key of another kind than the lab makes", s.file)
	}
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, "", nil, err
	}
	digest := sha256.Sum256(public)
	return key, base64.RawURLEncoding.EncodeToString(digest[:]), public, nil
}
