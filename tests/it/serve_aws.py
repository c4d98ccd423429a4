"""Drives `amikit serve aws` with botocore: what clients of EBS direct and EC2 do, and what they do wrong.

Usage: serve_aws.py ENDPOINT SCENARIO. Exits with 0 if all is as it should be.
"""

import base64
import hashlib
import os
import re
import sys
import time

import botocore.session
from botocore.config import Config
from botocore.exceptions import ClientError

BLOCK = 524288
URL, SCENARIO = sys.argv[1], sys.argv[2]
ME, OTHER = "123456789012", "210987654321"


def client(service, account=ME, region="us-east-1", secret="secret"):
    session = botocore.session.get_session()
    config = Config(retries={"max_attempts": 0}, parameter_validation=False, read_timeout=30)
    return session.create_client(
        service,
        region_name=region,
        endpoint_url=URL,
        aws_access_key_id=account,
        aws_secret_access_key=secret,
        config=config,
    )


ebs, ec2, sts = client("ebs"), client("ec2"), client("sts")


def block(seed):
    return hashlib.sha256(str(seed).encode()).digest() * (BLOCK // 32) if seed else bytes(BLOCK)


def digest(data):
    return hashlib.sha256(data).digest()


def b64(raw):
    return base64.b64encode(raw).decode()


def refused(code, call, reason=None, **parameters):
    try:
        call(**parameters)
    except ClientError as error:
        found = error.response["Error"]["Code"]
        assert found == code, (found, code, error)
        if reason is not None:
            assert error.response.get("Reason") == reason, error.response
        return error
    raise AssertionError(f"{code} was expected of {call} {parameters}")


def put(snapshot, index, data, **more):
    parameters = dict(
        SnapshotId=snapshot,
        BlockIndex=index,
        BlockData=data,
        DataLength=len(data),
        Checksum=b64(digest(data)),
        ChecksumAlgorithm="SHA256",
        Progress=50,
    )
    return ebs.put_snapshot_block(**{**parameters, **more})


def linear(blocks):
    return b64(digest(b"".join(digest(blocks[index]) for index in sorted(blocks))))


def complete(snapshot, blocks, **more):
    parameters = dict(
        SnapshotId=snapshot,
        ChangedBlocksCount=len(blocks),
        Checksum=linear(blocks),
        ChecksumAlgorithm="SHA256",
        ChecksumAggregationMethod="LINEAR",
    )
    return ebs.complete_snapshot(**{**parameters, **more})


def settled(snapshot):
    for _ in range(200):
        found = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
        if found["State"] != "pending":
            return found
        time.sleep(0.05)
    raise AssertionError(f"{snapshot} stays pending")


def upload(blocks, size=1, **more):
    started = ebs.start_snapshot(VolumeSize=size, **more)
    assert started["Status"] == "pending" and started["BlockSize"] == BLOCK, started
    for index in sorted(blocks, key=lambda it: hash((it, 7))):
        put(started["SnapshotId"], index, blocks[index])
    done = complete(started["SnapshotId"], blocks)
    assert done["Status"] == "pending", done
    found = settled(started["SnapshotId"])
    assert found["State"] == "completed", found
    return started["SnapshotId"]


def pages(call, name, **parameters):
    token, found = None, []
    while True:
        page = call(**parameters, **({"NextToken": token} if token else {}))
        found += page[name]
        token = page.get("NextToken")
        if not token:
            return found


def download(snapshot):
    blocks = {}
    for entry in pages(ebs.list_snapshot_blocks, "Blocks", SnapshotId=snapshot):
        got = ebs.get_snapshot_block(
            SnapshotId=snapshot, BlockIndex=entry["BlockIndex"], BlockToken=entry["BlockToken"]
        )
        data = got["BlockData"].read()
        assert got["Checksum"] == b64(digest(data)) and got["DataLength"] == BLOCK
        blocks[entry["BlockIndex"]] = data
    return blocks


def changed(first, second):
    found = pages(
        ebs.list_changed_blocks, "ChangedBlocks", FirstSnapshotId=first, SecondSnapshotId=second
    )
    sides = lambda it: ("FirstBlockToken" in it, "SecondBlockToken" in it)
    return {it["BlockIndex"]: sides(it) for it in found}


def blocks_go_in_and_come_out():
    one = {0: block(1), 5: block(0), 2047: block(2), 77: block(1)}
    first = upload(one, Description="first", Tags=[{"Key": "a", "Value": "b"}])
    assert download(first) == one
    # Over a parent: what is not put is inherited, zeros are written on purpose.
    two = {0: block(0), 6: block(3)}
    second = upload(two, ParentSnapshotId=first, size=2)
    assert download(second) == {**one, **two}
    assert changed(first, second) == {0: (True, True), 6: (False, True)}
    assert changed(second, first) == {0: (True, True), 6: (True, False)}
    third = upload(one)
    refused("ValidationException", ebs.list_changed_blocks, "UNRELATED_SNAPSHOTS",
            FirstSnapshotId=first, SecondSnapshotId=third)
    only = pages(ebs.list_changed_blocks, "ChangedBlocks", SecondSnapshotId=second)
    assert [it["BlockIndex"] for it in only] == sorted({**one, **two})
    # Overwriting is legal until it is completed.
    again = ebs.start_snapshot(VolumeSize=1, ClientToken="t1")
    same = ebs.start_snapshot(VolumeSize=1, ClientToken="t1")
    assert again["SnapshotId"] == same["SnapshotId"]
    refused("ConflictException", ebs.start_snapshot, VolumeSize=2, ClientToken="t1")
    put(again["SnapshotId"], 3, block(8))
    put(again["SnapshotId"], 3, block(9))
    complete(again["SnapshotId"], {3: block(9)})
    assert settled(again["SnapshotId"])["State"] == "completed"
    assert download(again["SnapshotId"]) == {3: block(9)}
    print(first, second)


def mistakes_are_refused():
    for more, reason in [
        (dict(VolumeSize=0), "INVALID_VOLUME_SIZE"),
        (dict(VolumeSize=65537), "INVALID_VOLUME_SIZE"),
        (dict(VolumeSize=1, Description="x" * 256), "INVALID_PARAMETER_VALUE"),
        (dict(VolumeSize=1, ClientToken="a b"), "INVALID_PARAMETER_VALUE"),
        (dict(VolumeSize=1, Timeout=5), "INVALID_PARAMETER_VALUE"),
        (dict(VolumeSize=1, Tags=[{"Key": "", "Value": ""}]), "INVALID_TAG"),
        (dict(VolumeSize=1, KmsKeyArn="arn:aws:kms:x"), "INVALID_PARAMETER_VALUE"),
        (dict(VolumeSize=1, Encrypted=True, ParentSnapshotId="snap-1"), "INVALID_PARAMETER_VALUE"),
        (dict(VolumeSize=1, ParentSnapshotId="vol-1"), "INVALID_SNAPSHOT_ID"),
    ]:
        refused("ValidationException", ebs.start_snapshot, reason, **more)
    refused("ResourceNotFoundException", ebs.start_snapshot, "SNAPSHOT_NOT_FOUND",
            VolumeSize=1, ParentSnapshotId="snap-00000000000000000")
    snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    data = block(1)
    for index, more, reason in [
        (0, dict(Checksum=b64(digest(b"x"))), "INVALID_BLOCK"),
        (0, dict(Checksum="!"), "INVALID_PARAMETER_VALUE"),
        (0, dict(ChecksumAlgorithm="MD5"), "INVALID_PARAMETER_VALUE"),
        (0, dict(DataLength=512), "INVALID_PARAMETER_VALUE"),
        (0, dict(Progress=101), "INVALID_PARAMETER_VALUE"),
        (2048, {}, "INVALID_BLOCK"),
        (10**12, {}, "INVALID_PARAMETER_VALUE"),
    ]:
        refused("ValidationException", lambda **more: put(snapshot, index, data, **more), reason, **more)
    short = data[:-1]
    refused("ValidationException", lambda: put(snapshot, 0, short, DataLength=BLOCK), "INVALID_BLOCK")
    refused("ResourceNotFoundException", lambda: put("snap-0a", 0, data), "SNAPSHOT_NOT_FOUND")
    refused("ValidationException", lambda: put("vol-1", 0, data), "INVALID_SNAPSHOT_ID")
    # Nothing can be read of what is pending.
    refused("ValidationException", ebs.list_snapshot_blocks, SnapshotId=snapshot)
    put(snapshot, 0, data)
    complete(snapshot, {0: data})
    refused("ValidationException", lambda: complete(snapshot, {0: data}))
    refused("ValidationException", lambda: put(snapshot, 1, data))
    assert settled(snapshot)["State"] == "completed"
    refused("ValidationException", lambda: complete(snapshot, {0: data}))
    token = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"][0]["BlockToken"]
    refused("ValidationException", ebs.get_snapshot_block, "INVALID_BLOCK_TOKEN",
            SnapshotId=snapshot, BlockIndex=1, BlockToken=token)
    refused("ValidationException", ebs.get_snapshot_block, "INVALID_BLOCK_TOKEN",
            SnapshotId=snapshot, BlockIndex=0, BlockToken="AAAA")
    refused("ValidationException", ebs.list_snapshot_blocks, "INVALID_PAGE_TOKEN",
            SnapshotId=snapshot, NextToken="AAAA")
    refused("ValidationException", ebs.list_snapshot_blocks, "INVALID_PARAMETER_VALUE",
            SnapshotId=snapshot, MaxResults=20000)
    # A count or an aggregate that is wrong is found out after the answer.
    for more in [dict(ChangedBlocksCount=2), dict(Checksum=b64(digest(b"")))]:
        wrong = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
        put(wrong, 0, data)
        assert complete(wrong, {0: data}, **more)["Status"] == "pending"
        found = settled(wrong)
        assert found["State"] == "error" and found["StateMessage"], found
    # Another account sees nothing; a browser, and whoever does not sign, is refused.
    refused("AccessDeniedException", client("ebs", OTHER).list_snapshot_blocks, SnapshotId=snapshot)


def register(snapshot, name="web", api=ec2, **more):
    parameters = dict(
        Name=name,
        Architecture="x86_64",
        VirtualizationType="hvm",
        RootDeviceName="/dev/xvda",
        EnaSupport=True,
        BootMode="uefi-preferred",
        BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3"}}
        ],
        TagSpecifications=[{"ResourceType": "image", "Tags": [{"Key": "Team", "Value": "a&<b>"}]}],
    )
    parameters.update(more)
    return api.register_image(**{k: v for k, v in parameters.items() if v is not None})["ImageId"]


def available(image, api=ec2):
    for _ in range(200):
        found = api.describe_images(ImageIds=[image])["Images"][0]
        if found["State"] != "pending":
            assert found["State"] == "available", found
            return found
        time.sleep(0.05)
    raise AssertionError(f"{image} stays pending")


def images_live_and_die():
    assert sts.get_caller_identity()["Account"] == ME
    buckets = client("s3").list_buckets()
    assert len(buckets["Owner"]["ID"]) == 64 and buckets["Buckets"] == [], buckets
    snapshot = upload({0: block(1), 3: block(2)}, Description="root")
    refused("DryRunOperation", register, snapshot=snapshot, DryRun=True)
    image = register(snapshot)
    assert ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "pending"
    found = available(image)
    ebs_of = found["BlockDeviceMappings"][0]["Ebs"]
    assert ebs_of["SnapshotId"] == snapshot and ebs_of["VolumeSize"] == 1, found
    assert ebs_of["DeleteOnTermination"] is True and ebs_of["VolumeType"] == "gp3", found
    assert found["Tags"] == [{"Key": "Team", "Value": "a&<b>"}] and found["EnaSupport"] is True
    assert found["RootDeviceType"] == "ebs" and found["BootMode"] == "uefi-preferred"
    assert found["Public"] is False and found["OwnerId"] == ME and found["Name"] == "web"
    for filters, hit in [
        ([("name", ["w?b*"])], True),
        ([("name", ["other"])], False),
        ([("tag:Team", ["a*"]), ("state", ["available"])], True),
        ([("architecture", ["arm64"])], False),
        ([("block-device-mapping.snapshot-id", [snapshot])], True),
    ]:
        asked = [{"Name": name, "Values": values} for name, values in filters]
        ids = [it["ImageId"] for it in ec2.describe_images(Filters=asked, Owners=["self"])["Images"]]
        assert (image in ids) == hit, (filters, ids)
    refused("InvalidParameterValue", ec2.describe_images, Filters=[{"Name": "no", "Values": ["x"]}])
    # Sharing: seen by whoever it is shared with, and by nobody else.
    other = client("ec2", OTHER)
    refused("InvalidAMIID.NotFound", other.describe_images, ImageIds=[image])
    ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [{"UserId": OTHER}]})
    assert other.describe_images(ExecutableUsers=["self"])["Images"][0]["ImageId"] == image
    shown = ec2.describe_image_attribute(ImageId=image, Attribute="launchPermission")
    assert shown["LaunchPermissions"] == [{"UserId": OTHER}], shown
    refused("AuthFailure", other.deregister_image, ImageId=image)
    refused("InvalidRequest", other.copy_image, SourceImageId=image, SourceRegion="us-east-1", Name="mine")
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission",
                                  OperationType="add", UserIds=[OTHER])
    shown = ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="createVolumePermission")
    assert shown["CreateVolumePermissions"] == [{"UserId": OTHER}], shown
    west = client("ec2", OTHER, "eu-west-1")
    copied = west.copy_image(SourceImageId=image, SourceRegion="us-east-1", Name="mine",
                             ClientToken="c1")["ImageId"]
    same = west.copy_image(SourceImageId=image, SourceRegion="us-east-1", Name="mine",
                           ClientToken="c1")["ImageId"]
    assert copied == same
    found = available(copied, west)
    assert found["SourceImageId"] == image and found["SourceImageRegion"] == "us-east-1", found
    theirs = found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    assert theirs != snapshot
    blocks = client("ebs", OTHER, "eu-west-1").list_snapshot_blocks(SnapshotId=theirs)["Blocks"]
    assert [it["BlockIndex"] for it in blocks] == [0, 3]
    ec2.reset_image_attribute(ImageId=image, Attribute="launchPermission")
    refused("InvalidAMIID.NotFound", other.describe_images, ImageIds=[image])
    # Description, tags, deprecation, protection, disabling.
    ec2.modify_image_attribute(ImageId=image, Description={"Value": "better"})
    assert available(image)["Description"] == "better"
    ec2.create_tags(Resources=[image, snapshot], Tags=[{"Key": "Stage", "Value": "prod"}])
    tagged = ec2.describe_tags(Filters=[{"Name": "key", "Values": ["Stage"]}])["Tags"]
    assert {it["ResourceId"] for it in tagged} == {image, snapshot}, tagged
    ec2.delete_tags(Resources=[snapshot], Tags=[{"Key": "Stage"}])
    assert len(ec2.describe_tags(Filters=[{"Name": "key", "Values": ["Stage"]}])["Tags"]) == 1
    later = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() + 86400 * 30))
    ec2.enable_image_deprecation(ImageId=image, DeprecateAt=later)
    assert available(image)["DeprecationTime"][:16] == later[:16]
    ec2.disable_image_deprecation(ImageId=image)
    ec2.disable_image(ImageId=image)
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    ec2.enable_image(ImageId=image)
    ec2.enable_image_deregistration_protection(ImageId=image)
    refused("OperationNotPermitted", ec2.deregister_image, ImageId=image)
    ec2.disable_image_deregistration_protection(ImageId=image)
    refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=snapshot)
    ec2.deregister_image(ImageId=image)
    refused("InvalidAMIID.NotFound", ec2.describe_images, ImageIds=[image])
    copy = ec2.copy_snapshot(SourceSnapshotId=snapshot, SourceRegion="us-east-1")["SnapshotId"]
    ec2.delete_snapshot(SnapshotId=snapshot)
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[snapshot])
    # What was copied stays.
    assert len(download(copy)) == 2
    assert any(it["RegionName"] == "us-east-1" for it in ec2.describe_regions()["Regions"])


def images_are_judged_as_ec2_does():
    snapshot = upload({0: block(1)})
    pending = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    root = lambda **ebs: [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot, **ebs}}]
    register(snapshot, name="taken")
    for code, more in [
        ("InvalidAMIName.Malformed", dict(name="a")),
        ("InvalidAMIName.Malformed", dict(name="web:1")),
        ("InvalidAMIName.Duplicate", dict(name="taken")),
        ("MissingParameter", dict(name="")),
        ("InvalidParameterValue", dict(Description="x" * 256)),
        ("InvalidParameterValue", dict(Architecture="x64")),
        ("InvalidParameterValue", dict(TpmSupport="v2.0", BootMode="uefi-preferred")),
        ("InvalidBlockDeviceMapping", dict(BlockDeviceMappings=root() + root())),
        ("InvalidBlockDeviceMapping",
         dict(BlockDeviceMappings=[{"DeviceName": "xyz", "Ebs": {"SnapshotId": snapshot}}])),
        ("InvalidBlockDeviceMapping", dict(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": True}}])),
        ("InvalidParameterCombination", dict(BlockDeviceMappings=root(VolumeType="gp2", Iops=300))),
        ("InvalidParameterValue", dict(BlockDeviceMappings=root(VolumeType="gp3", Iops=1))),
        ("MissingParameter", dict(BlockDeviceMappings=root(VolumeType="io1"))),
        ("InvalidParameterCombination", dict(BlockDeviceMappings=root(VolumeType="gp2", Throughput=125))),
        ("InvalidParameterDependency", dict(BlockDeviceMappings=root(Encrypted=False))),
        ("InvalidParameterValue", dict(BlockDeviceMappings=root(VolumeType="gp9"))),
        ("InvalidSnapshotID.Malformed",
         dict(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-x"}}])),
        ("InvalidSnapshot.NotFound",
         dict(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0a"}}])),
        ("IncorrectState",
         dict(BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": pending}}])),
        ("InvalidParameterValue",
         dict(TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "a", "Value": "b"}]}])),
        ("InvalidParameterValue",
         dict(TagSpecifications=[{"ResourceType": "image", "Tags": [{"Key": "aws:a", "Value": "b"}]}])),
    ]:
        refused(code, lambda **more: register(snapshot, **more), **more)
    big = upload({0: block(1)}, size=2)
    refused("InvalidBlockDeviceMapping", register, snapshot=big, BlockDeviceMappings=[
        {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": big, "VolumeSize": 1}}])
    image = register(snapshot, name="judged")
    for code, more in [
        ("InvalidAMIAttributeItemValue", dict(LaunchPermission={"Add": [{"UserId": "12"}]})),
        ("InvalidAMIAttributeItemValue", dict(LaunchPermission={"Add": [{"Group": "some"}]})),
        ("InvalidParameterCombination", dict()),
        ("InvalidParameterCombination",
         dict(Description={"Value": "x"}, LaunchPermission={"Add": [{"Group": "all"}]})),
        ("InvalidParameterValue", dict(Description={"Value": "x" * 256})),
        ("InvalidAMIID.Malformed", dict(ImageId="web", Description={"Value": "x"})),
        ("InvalidAMIID.NotFound", dict(ImageId="ami-0a", Description={"Value": "x"})),
    ]:
        refused(code, ec2.modify_image_attribute, **{"ImageId": image, **more})
    refused("InvalidParameterValue", ec2.enable_image_deprecation, ImageId=image,
            DeprecateAt="2020-01-01T00:00:00Z")
    refused("TagLimitExceeded", ec2.create_tags, Resources=[image],
            Tags=[{"Key": str(it), "Value": ""} for it in range(51)])
    refused("InvalidID", ec2.create_tags, Resources=["vol-1"], Tags=[{"Key": "a", "Value": "b"}])
    refused("InvalidAMIID.NotFound", ec2.deregister_image, ImageId="ami-0a")
    ec2.deregister_image(ImageId=image)
    refused("InvalidAMIID.Unavailable", ec2.deregister_image, ImageId=image)
    secret = ebs.start_snapshot(VolumeSize=1, Encrypted=True)["SnapshotId"]
    put(secret, 0, block(1))
    complete(secret, {0: block(1)})
    settled(secret)
    sealed = register(secret, name="sealed")
    refused("UnsupportedOperation", ec2.modify_image_attribute, ImageId=sealed,
            LaunchPermission={"Add": [{"Group": "all"}]})
    refused("InvalidParameter", ec2.modify_image_attribute, ImageId=sealed,
            LaunchPermission={"Add": [{"UserId": OTHER}]})
    refused("InvalidAction", ec2.describe_volumes)


def what_was_there_is_there(name, count):
    found = ec2.describe_images(Owners=["self"], Filters=[{"Name": "name", "Values": [name]}])["Images"]
    assert len(found) == 1 and found[0]["State"] == "available", found
    snapshot = found[0]["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    assert len(download(snapshot)) == int(count)


def keys_must_sign():
    assert client("sts", "AKIDEXAMPLE", secret="right").get_caller_identity()["Account"] == OTHER
    refused("SignatureDoesNotMatch", client("sts", "AKIDEXAMPLE", secret="wrong").get_caller_identity)
    refused("AuthFailure", client("sts", "AKIDOTHER", secret="right").get_caller_identity)
    mine = client("ebs", "AKIDEXAMPLE", secret="right")
    snapshot = mine.start_snapshot(VolumeSize=1, Description="ü €")["SnapshotId"]
    data = block(1)
    mine.put_snapshot_block(SnapshotId=snapshot, BlockIndex=0, BlockData=data, DataLength=BLOCK,
                            Checksum=b64(digest(data)), ChecksumAlgorithm="SHA256")
    mine.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1)
    for _ in range(100):
        try:
            tokens = mine.list_snapshot_blocks(SnapshotId=snapshot, StartingBlockIndex=0)["Blocks"]
            break
        except ClientError:
            time.sleep(0.05)
    mine.get_snapshot_block(SnapshotId=snapshot, BlockIndex=0, BlockToken=tokens[0]["BlockToken"])


def faults_come_as_asked():
    refused("InternalServerException", ebs.start_snapshot, VolumeSize=1)
    snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    data, seen = block(1), []
    blocks = {index: data for index in range(20)}
    for index in blocks:
        while True:
            try:
                put(snapshot, index, data)
                break
            except ClientError as error:
                seen.append(error.response["Error"]["Code"])
    assert seen and set(seen) == {"RequestThrottledException"}, seen
    complete(snapshot, blocks)
    assert settled(snapshot)["State"] == "completed"
    # Pages are short.
    page = ebs.list_snapshot_blocks(SnapshotId=snapshot)
    assert len(page["Blocks"]) == 7 and page["NextToken"]
    assert download(snapshot) == blocks


def pending_survives(step, snapshot=None):
    blocks = {index: block(index) for index in range(4)}
    if step == "begin":
        snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
        for index in (3, 1):
            put(snapshot, index, blocks[index])
        print(snapshot)
        return
    for index in (0, 2):
        put(snapshot, index, blocks[index])
    complete(snapshot, blocks)
    assert settled(snapshot)["State"] == "completed"
    assert download(snapshot) == blocks


LABELS = ["informational", "low", "medium", "high", "critical"]


def every_filter_that_ec2_documents_is_known():
    model = ec2.meta.service_model
    for call in ["DescribeImages", "DescribeSnapshots", "DescribeTags", "DescribeRegions"]:
        text = model.operation_model(call).input_shape.members["Filters"].documentation
        names = re.findall(r"<li> ?<p> ?<code>([a-z.:-]+)", text)
        assert len(names) >= 3, (call, text)
        method = getattr(ec2, re.sub("(?<!^)([A-Z])", r"_\1", call).lower())
        for name in names:
            if name not in LABELS:
                name = "tag:Name" if name in ("tag", "tag:") else name
                method(Filters=[{"Name": name, "Values": ["*"]}])
        refused("InvalidParameterValue", method, Filters=[{"Name": "colour", "Values": ["red"]}])


globals()[SCENARIO](*sys.argv[3:])
