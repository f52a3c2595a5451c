package api

// LookUpKeys finds keys by their secrets and notes that they were used.
var LookUpKeys = (*API).lookUpKeys
