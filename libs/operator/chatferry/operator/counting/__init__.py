"""`chatferry demo participants`: the participants service beside a MAX platform whose truth is known."""
